"use strict";
// Rewrites what has changed, and nothing else: what a reader looks at stays where it is.
const page = document.querySelector("main");
const silence = document.querySelector("#silence");
const ANSWER_WITHIN_MS = 10000;
const SILENT_AFTER_MS = 12000;
const RETRY_MS = 2000;
let heard = Date.now();
let ahead = 0;

const two = (number) => String(number).padStart(2, "0");
const span = (s) =>
  s < 60 ? `${s}s`
  : s < 3600 ? `${Math.floor(s / 60)}m${two(s % 60)}s`
  : s < 86400 ? `${Math.floor(s / 3600)}h${two(Math.floor((s % 3600) / 60))}m`
  : s < 8640000 ? `${Math.floor(s / 86400)}d${two(Math.floor((s % 86400) / 3600))}h`
  : `${Math.floor(s / 86400)}d`;
const put = (node, text) => {
  if (node.textContent !== text) node.textContent = text;
};

// Times go on between two answers, by the clock of heartbeatd.
const count = (root) => {
  const now = Date.now() + ahead;
  for (const time of root.querySelectorAll("time[data-since]"))
    put(time, span(Math.max(0, Math.floor((now - Date.parse(time.dateTime)) / 1000))));
  for (const time of root.querySelectorAll("time[data-at]")) {
    const ms = Date.parse(time.dateTime) - now;
    put(time, ms <= 0 ? "now" : ms < 1000 ? "in <1s" : `in ${span(Math.ceil(ms / 1000))}`);
  }
};
const replace = (old, fresh) => {
  if (old.isEqualNode(fresh)) return;
  old.className = fresh.className;
  old.replaceChildren(...fresh.childNodes);
};
const show = (answer) => {
  const fresh = answer.querySelector("main");
  ahead = Date.parse(fresh.dataset.now) - Date.now();
  page.dataset.tag = fresh.dataset.tag;
  document.title = answer.title;
  count(fresh);
  for (const id of ["headline", "about", "problem", "picture"])
    replace(page.querySelector(`#${id}`), fresh.querySelector(`#${id}`));
  const body = page.querySelector("tbody");
  const gone = new Map([...body.rows].map((row) => [row.id, row]));
  const focused = document.activeElement;
  let at = body.firstElementChild;
  for (const row of [...fresh.querySelector("tbody").rows]) {
    const old = gone.get(row.id);
    gone.delete(row.id);
    if (!old) {
      body.insertBefore(row, at);
      continue;
    }
    for (const [column, cell] of [...row.cells].entries()) replace(old.cells[column], cell);
    if (old === at) at = at.nextElementSibling;
    else body.insertBefore(old, at);
  }
  for (const row of gone.values()) row.remove();
  if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
};
const ask = async (address) => {
  const answer = await fetch(address, { cache: "no-store", signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
  if (!answer.ok) throw new Error(answer.statusText);
  return answer.text();
};
const follow = async () => {
  for (;;) {
    try {
      // Answered at the next change, or after 5 s.
      await ask(`api/status/?fields=summary&since=${page.dataset.tag}&wait=5s`);
      show(new DOMParser().parseFromString(await ask("./"), "text/html"));
      heard = Date.now();
    } catch {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
};
setInterval(() => {
  const quiet = Date.now() - heard;
  const old = quiet > SILENT_AFTER_MS;
  silence.hidden = !old;
  page.classList.toggle("old", old);
  if (old) put(silence, `No answer from heartbeatd for ${span(Math.floor(quiet / 1000))}. What follows is from before.`);
  else count(page);
}, 1000);
ahead = Date.parse(page.dataset.now) - Date.now();
follow();
