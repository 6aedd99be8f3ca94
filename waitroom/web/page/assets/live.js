// How a waiting page keeps its place up to date between two of its own status calls: by an event stream, or without
// one by watching the room document, which caches answer. It goes one way at a time, and none where polling is as good.
// All visible tabs of a browser share one stream: one tab listens, and tells the others what it hears.
"use strict";

/** A channel to the other tabs. Some browsers have none, or none for a page whose cookies they block. */
globalThis.waitroomTabs = (name) => {
  try {
    return new BroadcastChannel(name);
  } catch {}
};

/** `tell` takes news of the place. `proved` hears that the cookie came back, `late` that a word is overdue, `reached` that
 * one has come, `gone` that none will. `ask` and `askIn` ask in person. */
globalThis.waitroomLive = ({ room, streams, tell, proved, late, reached, gone, ask, askIn }) => {
  const LEAST_WORTH_S = 5; // a visitor that has to ask in person as often as this needs no other way
  const CLOSE_S = 5; // so long before the turn may come at the earliest it is asked in person
  const EARLY_S = 0.5; // a document is fetched so much earlier than it must be, so that not all come at once
  const PAUSE_S = 1; // the least between two documents, and the most before the first
  const COMERS_PER_S = 1000; // so many ask in person at most when the turn of many has come, or all places are lost
  const SILENCE_MS = 3500; // an instance says something more often: after that the room document tells if it is there
  const DEAF_MS = 10_000; // a stream, or the tab that listens, is given up after so long without a word
  const LATE_MS = 2000; // a document that takes so long is a sign that the connection is cut
  const LATE_IN_SILENCE_MS = 1000;
  const GIVE_UP_MS = 10_000;

  const NO_DOCUMENT = "no room document";
  const tabs = globalThis.waitroomTabs(`waitroom-stream:${room}`);
  const address = `/v1/rooms/${encodeURIComponent(room)}`;
  const between = (low, high) => low + Math.random() * (high - low);

  let look; // the place as last told in person, `at` by the server's clock, `since` and `due` by this page's
  let ahead = -Infinity; // the server's clock minus this page's
  let drift; // what the ladder is wrong by for this visitor, known from the first document after a look
  let newest; // the latest document's moment, and how many since were no younger
  let stuck;
  let hurried = false; // asked because a document said that the place had been passed
  let refused = !streams;
  let seat; // an AbortController while this tab listens, or waits for its turn to listen
  let listens = false; // this tab itself has the stream
  let spoken = false; // a word has come by a stream
  let silent = false; // no word where one was due
  let retry = between(1000, 30_000); // milliseconds from the end of a stream to the next
  let doubting; // until silence is noticed, then until the stream is given up
  let again; // until the next stream
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

  function listen(steal = false) {
    if (seat) return;
    seat = new AbortController();
    doubt();
    takeTurn(seat, steal);
  }

  /** Listens as soon as no other tab does. Where there are no locks, or no channel, each tab listens for itself. */
  async function takeTurn(mine, steal) {
    let begun = false;
    const turn = () => {
      begun = true;
      return hearOut(mine.signal);
    };
    try {
      if (tabs) await navigator.locks.request(`waitroom-stream:${room}`, steal ? { steal } : { signal: mine.signal }, turn);
    } catch {} // no locks here, or another tab took the turn away
    if (!begun && !mine.signal.aborted) await turn();
    if (seat !== mine) return;
    hangUp();
    watchIn(between(0, PAUSE_S));
    again = setTimeout(listen, retry);
  }

  /** Hears a stream until it ends. As an EventSource would, but one learns its status and hears heartbeats. */
  async function hearOut(signal) {
    listens = true;
    doubt();
    try {
      const answer = await fetch(`${address}/events`, { cache: "no-store", signal });
      if (!answer.ok) return decline(answer.status, await answer.json().catch(() => ({})), signal);
      const reader = answer.body.getReader();
      const decoder = new TextDecoder();
      for (let text = "", part; !(part = await reader.read()).done; ) {
        const events = (text + decoder.decode(part.value, { stream: true })).split("\n\n");
        text = events.pop();
        for (const event of events) if (!signal.aborted) hear(event);
      }
    } catch {} // cut, or no longer wanted
  }

  /** No stream here, or none any more for this visitor: then the status says which. Else the next try may have one. */
  function decline(status, { type }, signal) {
    if (signal.aborted) return;
    const here = [401, 403, 410].includes(status);
    const poll = status === 404 || /poll-instead$/.test(type);
    if (poll) tabs?.postMessage({ event: "refused" });
    if (poll && status !== 404) proved();
    if (here || poll) refuse();
    if (here) askIn(0);
  }

  function hear(text) {
    const fields = Object.fromEntries(text.split("\n").map((line) => line.split(/: ?(.*)/, 2)));
    retry = Number(fields.retry) || retry;
    tabs?.postMessage(fields);
    take(fields);
  }

  /** A word of the stream, heard here or by another tab. */
  function take({ event, data }) {
    if (!look || refused || document.hidden) return;
    if (event === "refused") return refuse();
    rest();
    doubt();
    spoken = true;
    reached();
    if (event === "place") heard(JSON.parse(data));
    if (event === "admitted") {
      stop();
      ask();
    }
    if (event === "over") {
      hangUp();
      hurry(between(0, spread())); // so many as listened may have heard the same
    }
  }

  function heard(place) {
    if (place.serial !== look.serial && look.serial && place.serial) return; // of another place than this tab's
    proved();
    if (Date.parse(place.as_of) >= look.at) show(place, place.rank);
  }

  /** Waits for a word. In silence the room document is watched, and later the stream is given up. */
  function doubt() {
    clearTimeout(doubting);
    silent = false;
    doubting = setTimeout(() => {
      silent = true;
      doubting = setTimeout(deaf, DEAF_MS - SILENCE_MS + between(0, PAUSE_S) * 1000);
      watch();
    }, SILENCE_MS);
  }

  /** Something in between holds the events back, or the stream is dead, or the tab that listens is. */
  function deaf() {
    if (listens && !spoken) return refuse();
    const steal = !listens;
    hangUp();
    listen(steal);
  }

  function refuse() {
    refused = true;
    hangUp();
    if (look) watchIn(0);
  }

  function hangUp() {
    clearTimeout(doubting);
    clearTimeout(again);
    seat?.abort();
    seat = undefined;
    listens = silent = false;
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
      if (reading === mine) read(known);
    } catch (error) {
      if (reading === mine) missed(error);
    }
  }

  /** Where there is no document it is as if it had never been watched: the next poll, then from there. */
  function missed({ message }) {
    if (message === NO_DOCUMENT) hurry(look.poll_after_seconds - (performance.now() - look.since) / 1000);
    else gone();
  }

  async function fetched(asking) {
    const overdue = setTimeout(late, silent ? LATE_IN_SILENCE_MS : LATE_MS);
    const patience = setTimeout(() => asking.abort(), GIVE_UP_MS);
    asking.signal.addEventListener("abort", () => clearTimeout(overdue));
    try {
      const answer = await fetch(address, { cache: "no-store", signal: asking.signal });
      if (answer.status >= 500) throw new Error(answer.status);
      return sound(answer.ok && (await answer.json()));
    } finally {
      clearTimeout(overdue);
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
    const points = Array.isArray(ladder) && ladder.every(Array.isArray) ? ladder : [[]];
    const numbers = [Date.parse(as_of), waiting, refresh_after_seconds, ...points.flat()];
    const rises = points.every(([rank, serial], at) =>
      rank >= 1 && (at === 0 || (rank > points[at - 1][0] && serial > points[at - 1][1])));
    const lost = lost_at === null || Date.parse(lost_at) <= Date.parse(as_of);
    if (!rises || !lost || !numbers.every(Number.isFinite)) throw new Error(NO_DOCUMENT);
    return known;
  }

  function read(known) {
    const at = Date.parse(known.as_of);
    ahead = Math.max(ahead, at - performance.now()); // nothing comes from the future
    stuck = at > newest ? 0 : stuck + 1;
    newest = Math.max(newest, at);
    reached();
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

  tabs?.addEventListener("message", (message) => take(message.data));
  addEventListener("pagehide", hangUp); // a page that the browser keeps must not keep the others from listening
  return { looked, turned, stop };
};
