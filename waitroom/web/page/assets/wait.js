// The waiting page's script: asks for the visitor's place, shows it, and goes on when it is their turn. What happens to
// the place between two questions it learns from live.js.
// Every text comes from the page's table of strings. The ticket stays in its cookie, out of reach.
"use strict";

(() => {
  const ENDED = ["over", "had", "away", "left", "cookie", "invited", "refused", "admitted"];
  const GONE = [401, 410]; // the answers when a place or its proof is no more
  const SAY_AT_MOST_EVERY_MS = 30_000;
  const GIVE_UP_AFTER_MS = 15_000;
  const LATE_MS = 4000; // an answer that takes so long is a sign that the connection is cut

  const find = (id) => document.getElementById(id);
  const main = find("main");
  const { room } = main.dataset;
  const strings = globalThis.waitroomStrings;
  const pollAfter = Number(main.dataset.pollAfter) || 5;
  const joinAddress = withFragment(new URL(main.dataset.join, location.href).href);

  const language = document.documentElement.lang;
  const numbers = new Intl.NumberFormat(language);
  const plurals = new Intl.PluralRules(language);
  // As the visitor writes the time, but in no other language than the page's.
  const local = navigator.languages?.find((one) => one.split("-")[0] === language) ?? language;
  const clock = new Intl.DateTimeFormat(local, { timeStyle: "medium" });
  const live = globalThis.waitroomLive({
    ...{ room, streams: main.dataset.streams === "yes" },
    ...{ tell, proved, late, reached, gone, ask, askIn: later },
  });
  const otherTabs = globalThis.waitroomTabs(`waitroom:${room}`);

  /** What the visitor was told last, with the fields of the server's waiting document. */
  let place = JSON.parse(main.dataset.place);
  let timer; // until the page goes on by itself
  let question; // the one under way, the only one that has an effect
  let parting = ""; // a goodbye: "leaving" while this tab waits for its answer, "said" where one was said in any tab
  let onward = main.dataset.return; // where an admitted visitor goes
  let failures = 0; // in a row
  let cut = false; // a word from the server is overdue
  let patient = false; // the server itself has said when to come back from the last failure
  let given = Date.now(); // when the place was given whose cookie has not come back yet, or 0
  let freshUntil = 0; // before this moment there is no point in asking
  let first = { since: 0, rank: 0 }; // the rank this tab saw first, and the place it was for
  let told = null; // what the live region said last, and when

  const words = (key, values = {}) =>
    (strings[key] ?? "").replace(/\{(\w+)\}/g, (_, name) =>
      typeof values[name] === "number" ? numbers.format(values[name]) : values[name]);

  const counted = (key, n) => words(`${key}_${plurals.select(n) === "one" ? "one" : "other"}`, { n });

  /** As the server words it: a range, rounded outwards. */
  function etaWords({ eta_seconds, eta_low_seconds, eta_high_seconds }) {
    const ends = [eta_low_seconds ?? eta_seconds, eta_high_seconds ?? eta_seconds];
    if (ends.some((end) => end == null)) return words("eta_unknown");
    const low = Math.max(0, Math.min(...ends));
    const high = Math.max(...ends);
    if (high <= 60) return words("eta_moment");
    const [unit, size] = high >= 172_800 ? ["days", 86_400] : high >= 10_800 ? ["hours", 3600] : ["minutes", 60];
    const outwards = (amount, round) => {
      const step = unit === "minutes" && amount > 20 ? 5 : 1;
      return round(amount / step) * step;
    };
    const values = { low: outwards(low / size, Math.floor), high: outwards(high / size, Math.ceil) };
    const form = values.low === 0 ? "up_to" : values.low === values.high ? "about" : "between";
    return words(`${unit}_${form}`, values);
  }

  /** Sets an element's text. An empty one is hidden together with its label. */
  function put(id, text) {
    const element = find(id);
    if (element.textContent !== text) element.textContent = text;
    (element.closest(".row") ?? element).hidden = text === "";
  }

  function show() {
    const { situation, rank, room_state, message = "" } = place;
    const waiting = situation === "waiting";
    const held = waiting && ["paused", "closed"].includes(room_state) ? room_state : "";
    const lost = (failures || cut) && !ENDED.includes(situation);
    const state = words(`state_${lost ? "lost" : held || situation}`);
    const ahead = rank > 1 ? words("title_ahead", { n: rank - 1 }) : words("title_next");
    const headline = words(`headline_${situation}`);
    document.title = [held && state, waiting ? ahead : headline, room].filter(Boolean).join(" · ");
    main.dataset.situation = situation;
    put("state", state);
    put("lead", headline);
    put("detail", !waiting ? detail(situation) : rank > 1 ? counted("ahead", rank - 1) : words("next"));
    put("notice", words(lost ? `lost_${situation}` : `notice_${held}`));
    put("message-label", words(held || situation === "closed" ? "reason_label" : "message_label"));
    put("message", message); // after its label: an empty message hides both
    put("waiting", waiting && place.waiting != null ? counted("waiting", place.waiting) : "");
    put("eta", held ? words("eta_held") : waiting ? etaWords(place) : "");
    put("updated", clock.format(new Date(place.as_of)));
    find("updated").dateTime = place.as_of;
    find("band").hidden = !find("notice").textContent && !message;
    find("facts").hidden = ENDED.includes(situation);
    showLink();
    for (const id of ["stub", "leave", "course"]) find(id).hidden = !waiting;
    showRank(waiting ? numbers.format(rank) : "");
    if (waiting) showProgress();
    announce(waiting);
  }

  function detail(situation) {
    const { again_seconds } = place;
    if (situation !== "limited" || !again_seconds) return words(`detail_${situation}`, { room });
    const at = Date.parse(place.as_of) + again_seconds * 1000;
    const day = new Date(at).toDateString() === new Date().toDateString() ? {} : { dateStyle: "medium" };
    return words("detail_limited_until", { time: new Intl.DateTimeFormat(local, { timeStyle: "short", ...day }).format(at) });
  }

  function showLink() {
    const [text, address] = link();
    find("link").textContent = words(text);
    find("link").href = address;
    find("way").hidden = text === "";
  }

  /** The way on, if the visitor has to take one: its text and its address. */
  function link() {
    if (place.situation === "admitted") return ["go_on", destination()];
    if (["over", "away", "left", "cookie"].includes(place.situation)) return ["again", joinAddress];
    return place.enqueue_url ? ["sign_in", place.enqueue_url] : ["", joinAddress];
  }

  function showRank(text) {
    const element = find("rank");
    const moved = text && element.textContent && element.textContent !== text;
    put("rank", text);
    element.dataset.length = text.length;
    element.classList.remove("moved");
    if (moved) requestAnimationFrame(() => element.classList.add("moved"));
  }

  function showProgress() {
    first = firstSeen();
    find("course").hidden = first.rank === place.rank;
    find("progress").max = first.rank;
    find("progress").value = first.rank - place.rank;
    put("started", words("progress", { n: first.rank }));
  }

  /** The first rank of this place, kept over reloads where the browser lets this tab remember. */
  function firstSeen() {
    const seen = { since: Date.parse(place.entered_at) || 0, rank: place.rank };
    const higher = (one) => Math.max(seen.rank, one?.since === seen.since ? one.rank : 0);
    seen.rank = higher(first);
    try {
      seen.rank = higher(JSON.parse(sessionStorage.getItem(`waitroom:${room}`)));
      sessionStorage.setItem(`waitroom:${room}`, JSON.stringify(seen));
    } catch {} // storage is off
    return seen;
  }

  /** Tells screen readers: a change of situation at once, a new rank now and then, nothing on arrival. */
  function announce(waiting) {
    const shown = waiting ? ["notice", "message"] : ["notice", "lead", "detail", "message"];
    const news = shown.map((id) => find(id).textContent).filter(Boolean).join(" ");
    const rank = waiting ? words("spoken", { n: place.rank, eta: find("eta").textContent }) : "";
    told ??= { news, rank, at: Date.now() };
    if (news === told.news && (rank === told.rank || Date.now() - told.at < SAY_AT_MOST_EVERY_MS)) return;
    find("live").textContent = news === told.news ? rank : news || rank;
    told = { news, rank, at: Date.now() };
  }

  /** Asks how the place stands. A visitor without one asks for one, which brings an old place back too. */
  function ask() {
    if (question || ENDED.includes(place.situation)) return;
    clearTimeout(timer);
    const joins = place.situation !== "waiting";
    inquire(joins ? "enter" : "status", (answer) => take(answer, joins), lost);
  }

  /** Puts a question, then does one of both. Here alone the page waits for something and then acts, and the check stands
   * right before the act: an event in between has only to let go of the question. */
  async function inquire(verb, act, fail) {
    const mine = (question = new AbortController());
    try {
      const answer = await answered(verb, mine);
      if (question === mine) act(answer);
    } catch {
      if (question === mine) fail();
    } finally {
      if (question === mine) question = undefined;
    }
  }

  /** Ends what was begun: the question under way, the next one, and what live.js does. */
  function letGo() {
    clearTimeout(timer);
    live.stop();
    question?.abort();
    question = undefined;
  }

  async function answered(verb, asking) {
    if (verb !== "enter") return call(verb, asking);
    const solution = place.challenge ? await work(place.challenge, asking.signal) : "";
    return alone(asking.signal, () => call(verb, asking, solution));
  }

  /** One tab after the other: two at once would get two places, the second gets the first one's. Without a lock it acts
   * at once: some browsers have no locks, or none for a page whose cookies they block, and a frozen tab may hold one. */
  function alone(signal, act) {
    const turn = new AbortController();
    const patience = setTimeout(() => turn.abort(), GIVE_UP_AFTER_MS);
    signal.addEventListener("abort", () => turn.abort());
    return new Promise((resolve) => {
      const inTurn = () => {
        clearTimeout(patience);
        const done = act();
        resolve(done);
        return done.catch(() => {});
      };
      (async () => navigator.locks.request(`waitroom:${room}`, { signal: turn.signal }, inTurn))().catch(inTurn);
    });
  }

  /** The whole answer, so that nothing of it comes later. */
  async function call(verb, asking, solution = "") {
    const overdue = setTimeout(late, LATE_MS);
    const patience = setTimeout(() => asking.abort(), GIVE_UP_AFTER_MS);
    asking.signal.addEventListener("abort", () => clearTimeout(overdue));
    try {
      const answer = await fetch(`/v1/rooms/${encodeURIComponent(room)}/${verb}`, {
        ...(verb === "status" ? {} : { method: "POST", headers: sent(solution), body: "{}" }),
        cache: "no-store",
        keepalive: verb === "leave", // also when the tab is closed meanwhile
        signal: asking.signal,
      });
      const body = await answer.json().catch(() => ({})); // a proxy in between may answer anything
      return { ok: answer.ok, status: answer.status, retry: Number(answer.headers.get("retry-after")), body };
    } finally {
      clearTimeout(overdue);
      clearTimeout(patience);
    }
  }

  const sent = (solution) =>
    ({ "content-type": "application/json", ...(solution && { "x-waitroom-challenge": solution }) });

  /** The solution of a challenge, found in a thread of its own. It may be used only once. */
  function work({ text, bits, seed_characters }, signal) {
    place.challenge = null;
    const worker = new Worker(main.dataset.work);
    return new Promise((resolve, reject) => {
      worker.onmessage = ({ data }) => resolve(`${text}.${data}`);
      worker.onerror = signal.onabort = reject;
      worker.postMessage({ seed: text.slice(-seed_characters), bits });
    }).finally(() => worker.terminate());
  }

  function take({ ok, status, retry, body }, joins) {
    if (ok && body.state === "admitted") return admitted(joins && Date.parse(body.expires_at));
    if (ok && body.state === "waiting") return waits(body, joins);
    if (parting && !joins && GONE.includes(status)) return left(); // that goodbye did get through
    if (status === 410) return end(joins ? "had" : "over");
    if (joins && body.challenge) return challenged(body);
    if (joins && /too-many-places$/.test(body.type)) return stands("limited", retry, body.enqueue_url);
    if (joins && /token-required$/.test(body.type)) return stands("token", retry, body.enqueue_url);
    if (status === 401 && !joins) return isKept() ? rejoin() : end("cookie");
    if (status === 403) return stands("closed", retry);
    if (status === 404 && /room-unknown$/.test(body.type)) return stands("unmade", retry);
    if (status === 503 && joins && /full$/.test(body.type)) return stands("full", retry);
    return lost(retry);
  }

  /** Whether this browser keeps the place's cookie. The first answer tells, if it comes before the cookie is over. */
  function isKept() {
    return !given || Date.now() - given > main.dataset.kept * 1000;
  }

  /** The cookie came back, also where another tab says so. */
  function proved() {
    given = 0;
  }

  /** The ticket is gone or too old: joins anew. */
  function rejoin() {
    place.situation = "unavailable";
    live.stop();
    later(0.2);
  }

  function waits(body, joins) {
    given = joins ? Date.now() : 0;
    cut = false;
    parting = ""; // the place is there: that goodbye did not get through
    place = { ...body, situation: "waiting", ticket: undefined };
    goesOn();
    show();
  }

  /** News come in between, so the next question has time: but not the first, where no stream tells that the cookie came
   * back. */
  function goesOn() {
    const latest = live.looked(place);
    const unproved = given && (main.dataset.streams !== "yes" || document.hidden);
    askAgain(place.poll_after_seconds, unproved ? 0 : latest);
  }

  /** What is known of the place since the last answer. */
  function tell(news) {
    if (place.situation !== "waiting") return;
    // The server is there again, so it is asked in person: in a moment, for all visitors hear the news at once.
    if (failures && !patient && Date.parse(news.as_of) > Date.parse(place.as_of)) later(Math.random());
    place = { ...place, ...news };
    show();
  }

  /** An answer is overdue: the visitor hears of it, though it may still come. */
  function late() {
    if (cut || ENDED.includes(place.situation)) return;
    cut = true;
    show();
  }

  function reached() {
    if (!cut) return;
    cut = false;
    show();
  }

  /** No answer comes: asks in person, in a moment, for all visitors see it at once. */
  function gone() {
    if (failures) return;
    late();
    if (!question) later(Math.random());
  }

  function stands(situation, retry, enqueue_url = "") {
    place = { ...place, situation, enqueue_url, again_seconds: retry, as_of: new Date().toISOString() };
    cut = false;
    live.stop();
    askAgain(retry);
    show();
  }

  /** A place takes work first: it is done at once. */
  function challenged({ challenge, enqueue_url }) {
    stands("challenge", 0, enqueue_url);
    place.challenge = challenge;
    later(0.1);
  }

  /** No good answer: what was known stays, and the next try comes later and later. */
  function lost(retry = 0) {
    const tries = failures + 1;
    if (retry > 0) askAgain(retry);
    else later(Math.min(30, 2 ** tries) * (0.5 + Math.random() / 2));
    failures = tries;
    patient = retry > 0;
    show();
  }

  /** The server has said when to come back. The page comes a little later, so that not all come at once. Where news
   * come in between, it comes when the place needs it at the latest. */
  function askAgain(seconds, latest = 0) {
    failures = 0;
    const wait = Math.min(Math.max(seconds || pollAfter, 0.2), 300);
    freshUntil = Date.now() + wait * 1000;
    later(latest || wait * (1 + Math.random() / 10));
  }

  function later(seconds) {
    clearTimeout(timer);
    timer = setTimeout(goOn, seconds * 1000);
  }

  function goOn() {
    if (place.situation === "admitted") location.replace(destination());
    else ask();
  }

  function end(situation) {
    letGo();
    failures = 0;
    cut = false;
    place = { ...place, situation };
    show();
  }

  /** `until`: when a pass ends whose cookie has not come back yet. The page that looks for it is on the way then. */
  function admitted(until) {
    if (until) onward = joinAddress.replace("?", `?kept=${Math.ceil(until / 1000)}&`);
    end("admitted");
    later(0.8); // a moment for the announcement to start
  }

  /** Where the visitor wanted to go. The server has checked it, this only keeps scripts out. */
  function destination() {
    const url = new URL(onward, location.href);
    return /^https?:$/.test(url.protocol) ? withFragment(url.href) : "/";
  }

  /** What stands behind `#` no server hears of. The browser kept it in the address of this page, and it goes along, as
   * it does with a redirect. */
  function withFragment(address) {
    return address.includes("#") ? address : address + (/#.*/s.exec(location.href)?.[0] ?? "");
  }

  /** Gives the place up. Meanwhile nothing is asked in any tab: told that the place is gone, it would join anew. */
  function leave() {
    letGo();
    parting = "leaving";
    otherTabs?.postMessage(parting);
    inquire("leave", ({ ok, status }) => {
      if (!ok && !GONE.includes(status)) return stays();
      left();
      find("headline").focus();
    }, stays);
  }

  function left() {
    otherTabs?.postMessage("left");
    end("left");
  }

  /** The goodbye did not get through, or its answer did not: the next question tells. */
  function stays() {
    find("leave-warning").textContent = find("live").textContent = words("leave_failed");
    otherTabs?.postMessage("stays");
    resume();
  }

  function resume() {
    parting = "said";
    later(0.2);
  }

  /** What is given up in another tab is given up here, also a turn that has just come. */
  function hear({ data }) {
    if (ENDED.includes(place.situation) && place.situation !== "admitted") return;
    if (data === "left") end("left");
    else if (parting !== "leaving") data === "stays" ? resume() : hold();
  }

  /** Asks nothing until that tab says what came of it, or for as long as it may wait: it may have been closed. */
  function hold() {
    letGo();
    parting = "said";
    askAgain(GIVE_UP_AFTER_MS / 1000);
  }

  /** A sleeping phone or a lost network kept us from asking, or what is shown is old: asks now. */
  function wake() {
    live.turned();
    const fails = (failures || cut) && !patient;
    if (!document.hidden && (fails || Date.now() >= freshUntil)) ask();
  }

  /** A page that the browser shows again from its memory may show an end that is long past: the visitor may have joined
   * again. Asking for the status makes no new place, so no visitor joins again by this. */
  function back({ persisted }) {
    if (persisted) wake();
    if (!persisted || !ENDED.includes(place.situation)) return;
    inquire("status", (answer) => answer.ok && take(answer, false), () => {});
  }

  document.addEventListener("visibilitychange", wake);
  addEventListener("online", wake);
  addEventListener("offline", late);
  find("leave-button").addEventListener("click", leave);
  otherTabs?.addEventListener("message", hear);
  addEventListener("pageshow", back);
  // Of a place that was given up or shared by its address the page must not say that its cookie was lost.
  if (/[?&](kept|invitation)=/.test(location.search)) history.replaceState(null, "", joinAddress + location.hash);
  find("scriptless")?.remove(); // it is for a browser that runs no script, or could not load it
  if (place.situation === "waiting" && navigator.cookieEnabled === false) end("cookie");
  else if (place.challenge) later(0);
  else if (place.situation === "waiting") goesOn();
  else if (!ENDED.includes(place.situation)) askAgain(pollAfter);
  show();
})();
