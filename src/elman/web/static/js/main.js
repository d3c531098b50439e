// The page: follows the address, loads what a screen needs, opens it.

import { current, go, onAddress } from "./core/address.js";
import { h, show } from "./core/dom.js";
import { switchTheme } from "./core/theme.js";
import { context, notice } from "./shell/context.js";
import { drawHeader } from "./shell/header.js";
import { listenKeys, setKeys } from "./shell/keys.js";
import { recordPanel } from "./shell/record.js";
import { SCREENS, screensOf } from "./shell/registry.js";
import { drawTray } from "./shell/tray.js";

const main = document.getElementById("content");
let open = null; // {id, key, screen}
let turn = 0; // counts the views asked for: an answer to an older one is dropped

function close() {
  open?.screen.close?.();
  open = null;
  setKeys([]);
}

function mount(id, key, screen) {
  close();
  open = { id, key, screen };
  setKeys(screen.keys);
  show(main, screen.element);
}

/** The recording that a view means: the one it names, or the newest of the trained network. */
function recordingOf(view) {
  const all = context.run?.recordings ?? [];
  if (view.rec) return view.rec;
  const trained = all.filter((each) => !each.untrained);
  return (trained[0] ?? all[0])?.id ?? null;
}

async function follow(view) {
  turn += 1;
  const mine = turn;
  const stale = () => mine !== turn;
  const entry = SCREENS.find((each) => each.id === view.screen);
  if (!entry) {
    go({ screen: "runs" }, { replace: true });
    return;
  }
  document.title = `${entry.title}${view.run ? ` \u00b7 ${view.run}` : ""} \u00b7 Elman`;
  try {
    if (!context.runs.length) await context.loadRuns();
    if (stale()) return;
    let run = view.run ?? null;
    if (!run && entry.needs !== "nothing") {
      run = context.runs.find((each) => !each.error && screensOf(each).includes(entry))?.id ?? null;
    }
    if (!run && entry.needs !== "nothing") {
      go({ screen: "runs" }, { replace: true });
      return;
    }
    if (run && context.run?.id !== run) await context.loadRun(run);
    if (!run) context.run = null;
    if (stale()) return;
    if (run && !screensOf(context.run).includes(entry)) {
      // another system: what its own screens show instead
      const own = screensOf(context.run).find((each) => each.needs === "run");
      go({ screen: own?.id ?? "runs" }, { replace: true });
      return;
    }
    const rec = run ? recordingOf(view) : null;
    if (entry.needs !== "nothing" && ((run && !view.run) || (rec && !view.rec))) {
      go({ run, rec }, { replace: true });
      return;
    }
    drawHeader(context, view);
    if (entry.needs === "recording" && !rec) {
      mount("record", `record ${run}`, recordPanel(context));
      drawTray(context, view);
      return;
    }
    if (rec && entry.needs !== "nothing") {
      if (context.corpus?.id !== rec) {
        if (open?.id !== entry.id || open.key !== `${run} ${rec}`) {
          close();
          show(main, h("p", { class: "loading", role: "status" }, "Loading the recording\u2026"));
        }
        await context.loadCorpus(rec);
      }
    } else if (!rec) context.corpus = null;
    if (stale()) return;
    drawTray(context, view);
    const key = `${run} ${rec}`;
    if (!open || open.id !== entry.id || open.key !== key) {
      const module = await entry.load();
      if (stale()) return;
      mount(entry.id, key, await module.open(context));
      context.announce(entry.title);
    }
    open.screen.update?.(view);
  } catch (error) {
    if (stale() || error.name === "AbortError") return;
    close();
    if (!context.runs.length) drawHeader(context, view);
    show(main, h("div", { class: "column" }, notice(error, () => follow(current()))));
  }
}

// the address is the view, so the link does not change it
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
onAddress(follow);
listenKeys((screen) => {
  if (!context.run || screensOf(context.run).some((each) => each.id === screen)) go({ screen });
}, switchTheme);
addEventListener("pagehide", close);
drawHeader(context, current());
follow(current());
