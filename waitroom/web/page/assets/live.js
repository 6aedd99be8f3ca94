// How a waiting page keeps its place up to date between two of its own status calls: by an event stream, or without
// one by watching the room document, which caches answer. It goes one way at a time, and none where polling is as good.
"use strict";

globalThis.waitroomLive = ({ room, streams, tell, ask, askIn }) => {
  const LEAST_WORTH_S = 5; // a visitor that has to ask in person as often as this needs no other way
  const CLOSE_S = 5; // so long before the turn may come at the earliest it is asked in person
  const EARLY_S = 0.5; // a document is fetched so much earlier than it must be, so that not all come at once
  const PAUSE_S = 1; // the least between two documents, and the most before the first
  const COMERS_PER_S = 1000; // so many ask in person at most when the turn of many has come, or all places are lost
  const FIRST_WORD_MS = 10_000; // something in between holds the events back
  const SILENCE_MS = 30_000; // a stream that says nothing for so long may be dead
  const GIVE_UP_MS = 10_000;

  const address = `/v1/rooms/${encodeURIComponent(room)}`;
  const between = (low, high) => low + Math.random() * (high - low);

  let look; // the place as last told in person, `at` by the server's clock, `since` and `due` by this page's
  let ahead = -Infinity; // the server's clock minus this page's
  let drift; // what the ladder is wrong by for this visitor, known from the first document after a look
  let newest; // the latest document's moment, and how many since were no younger
  let stuck;
  let hurried = false; // asked because a document said that the place had been passed
  let refused = !(streams && globalThis.EventSource);
  let source;
  let doubting;
  let watching; // until the next document
  let reading; // the document under way, the only one that has an effect
  let awake = 0; // when this page watched last

  /** Takes the answer of a status call. Returns the most seconds until the next, or 0 where polling is as good. */
  function looked(place) {
    const since = performance.now();
    const latest = place.latest_poll_seconds * between(0.9, 1);
    const patient = hurried ? place.poll_after_seconds : 0; // it had not: the next such document is believed later
    look = { ...place, since, at: Date.parse(place.as_of), due: since + latest * 1000, soonest: since + patient * 1000 };
    // Only a clock that was set back makes much less of the lead than was known.
    ahead = look.at - since < ahead - GIVE_UP_MS ? look.at - since : Math.max(ahead, look.at - since);
    [newest, stuck, drift, hurried] = [-Infinity, 0, undefined, false];
    if (!(latest >= LEAST_WORTH_S) || !place.serial) return stop();
    if (!refused && !document.hidden) return go(latest);
    const close = (place.eta_low_seconds ?? Infinity) - CLOSE_S;
    if (close < Math.max(place.poll_after_seconds, LEAST_WORTH_S)) return stop();
    look.due = Math.min(look.due, since + close * 1000);
    return go(Math.min(latest, close));
  }

  function go(seconds) {
    if (refused || document.hidden) watchIn(document.hidden ? look.poll_after_seconds : between(0, PAUSE_S));
    else listen();
    return seconds;
  }

  function stop() {
    rest();
    hangUp();
    look = undefined;
    return 0;
  }

  /** The tab was hidden or is seen again: a hidden one holds no stream, and watches rarely. */
  function turned() {
    if (!look) return;
    rest();
    hangUp();
    go();
  }

  // An event stream. It only tells: the place is kept, and an offer claimed, by asking in person.

  function listen() {
    if (source) return doubt(SILENCE_MS);
    source = new EventSource(`${address}/events`);
    source.addEventListener("place", heard);
    source.addEventListener("admitted", () => {
      stop();
      ask();
    });
    source.addEventListener("over", () => {
      hangUp();
      hurry(between(0, spread())); // so many as listened may have heard the same
    });
    source.addEventListener("error", () => {
      // Final, or else the browser comes back by itself, when the server wants it to.
      if (source.readyState === EventSource.CLOSED) refuse();
      else if (look) watchIn(between(0, PAUSE_S));
    });
    doubt(FIRST_WORD_MS);
  }

  function heard({ data }) {
    rest();
    doubt(SILENCE_MS);
    const place = JSON.parse(data);
    if (Date.parse(place.as_of) >= look.at) show(place, place.rank);
  }

  /** Waits so long for a word. A stream that never said one is given up. One that falls silent makes the page ask. */
  function doubt(ms) {
    clearTimeout(doubting);
    doubting = setTimeout(ms === FIRST_WORD_MS ? refuse : ask, ms);
  }

  function refuse() {
    refused = true;
    hangUp();
    if (look) watchIn(0);
  }

  function hangUp() {
    clearTimeout(doubting);
    source?.close();
    source = undefined;
  }

  // The room document.

  function watchIn(seconds) {
    clearTimeout(watching);
    watching = setTimeout(watch, seconds * 1000);
  }

  async function watch() {
    const now = performance.now();
    // Browsers wake hidden tabs late, once a minute: the next time may be too late for the place.
    if (document.hidden && now + Math.max(now - awake, look.poll_after_seconds * 1000) > look.due) return ask();
    awake = now;
    rest();
    const mine = (reading = new AbortController());
    try {
      const known = await fetched(mine);
      if (reading === mine) take(known);
    } catch {
      // As if it had never been watched: the next poll, then from there.
      if (reading === mine) hurry(look.poll_after_seconds - (performance.now() - look.since) / 1000);
    }
  }

  async function fetched(asking) {
    const patience = setTimeout(() => asking.abort(), GIVE_UP_MS);
    try {
      const answer = await fetch(address, { cache: "no-store", signal: asking.signal });
      if (!answer.ok) throw new Error(answer.statusText);
      return sound(await answer.json());
    } finally {
      clearTimeout(patience);
    }
  }

  /** No document any more, neither the next one nor what comes of the one under way. */
  function rest() {
    clearTimeout(watching);
    reading?.abort();
    reading = undefined;
  }

  /** The document, if it is one: what a portal or a broken cache puts in its place says nothing. */
  function sound(known) {
    const { as_of, lost_at, waiting, refresh_after_seconds, ladder } = known;
    const numbers = [Date.parse(as_of), waiting, refresh_after_seconds, ...ladder.flat()];
    const rises = ladder.every(([rank, serial], at) =>
      rank >= 1 && (at === 0 || (rank > ladder[at - 1][0] && serial > ladder[at - 1][1])));
    const lost = lost_at === null || Date.parse(lost_at) <= Date.parse(as_of);
    if (!rises || !lost || !numbers.every(Number.isFinite)) throw new Error("no room document");
    return known;
  }

  function take(known) {
    const at = Date.parse(known.as_of);
    ahead = Math.max(ahead, at - performance.now()); // nothing comes from the future
    stuck = at > newest ? 0 : stuck + 1;
    newest = Math.max(newest, at);
    if (at > look.at) {
      if (isPast(known)) return pass();
      show(known, ranked(known, at));
    }
    watchIn(document.hidden ? look.poll_after_seconds : Math.max(pause(known, at), PAUSE_S));
  }

  /** Seconds until the next document. They grow while none is younger, for then Redis or a clock has stopped. */
  function pause({ refresh_after_seconds: refresh }, at) {
    if (stuck) return Math.min(refresh * 2 ** stuck, Math.max(refresh, look.poll_after_seconds));
    const age = (performance.now() + ahead - at) / 1000;
    return refresh - between(0, EARLY_S) - age;
  }

  /** The document says that the place has been passed: asks, but not again and again where that is not so. */
  function pass() {
    hurried = true;
    hurry(Math.max(between(0, spread()), (look.soonest - performance.now()) / 1000));
  }

  /** Whether the turn has come or the place is gone: the queue begins behind it, ends before it, or was lost since. */
  function isPast({ ladder, lost_at }) {
    if (ladder.length === 0 || Date.parse(lost_at) >= look.at) return true;
    return look.serial < ladder[0][1] || look.serial > ladder.at(-1)[1];
  }

  /** Seconds over which visitors spread that the queue passed or lost at once: a poll's at most. */
  function spread() {
    const most = Math.max(look.poll_after_seconds - LEAST_WORTH_S, 0);
    return Math.min((look.shown ?? look.rank) / COMERS_PER_S, most);
  }

  /** Asks in person so soon, or when the place wants it. */
  function hurry(seconds) {
    askIn(Math.max(0, Math.min(seconds, (look.due - performance.now()) / 1000)));
  }

  const share = () => (look.shown ?? look.rank) / look.rank;

  /** The rank on the ladder, corrected by what it was wrong at the last look, within what the ladder knows. */
  function ranked(known, at) {
    const [low, found, high] = onLadder(known.ladder, look.serial);
    const perSecond = known.state === "open" ? known.admitted_per_second ?? 0 : 0;
    drift ??= look.rank - found - (perSecond * (at - look.at)) / 1000;
    return Math.round(Math.min(Math.max(found + drift, low), high));
  }

  /** The rank of a serial: at least, probably, at most. It is as far along as it is between the points around it. */
  function onLadder(ladder, serial) {
    const next = ladder.findIndex((point) => point[1] > serial);
    const [low, from] = next < 0 ? ladder.at(-1) : ladder[next - 1];
    if (next < 0 || from === serial) return [low, low, low];
    const [high, to] = ladder[next];
    return [low, low + ((high - low) * (serial - from)) / (to - from), high];
  }

  // Both.

  /** The rank shown never grows between two looks, and the eta shrinks with it. */
  function show(known, rank) {
    look.shown = Math.min(rank, look.shown ?? look.rank);
    const state = known.room_state ?? known.state;
    tell({
      rank: look.shown,
      waiting: Math.max(known.waiting, look.shown),
      room_state: state,
      message: known.message,
      as_of: known.as_of,
      ...etas(known, ["paused", "closed"].includes(state)),
    });
  }

  function etas(known, held) {
    const mine = "rank" in known;
    const whole = !mine && look.eta_seconds == null; // not known at the look: as much as the tail's
    const part = mine ? 1 : whole ? look.shown / (known.waiting + 1) : share();
    const of = (name) => (whole || mine ? known : look)[name];
    return Object.fromEntries(
      ["eta_seconds", "eta_low_seconds", "eta_high_seconds"].map((name) => [
        name, held || of(name) == null ? null : of(name) * part,
      ]),
    );
  }

  return { looked, turned, stop };
};
