// The screens. A screen of another system is one more entry here.

/**
 * id: in the address; title: in the bar; needs: "nothing", "run" or "recording"; systems: of which runs it is a screen
 * ("*" for all); load: its module, with open(context) -> {element, update(view), close?(), keys?}.
 */
export const SCREENS = [
  { id: "runs", title: "Runs", needs: "nothing", systems: "*", load: () => import("../screens/runs.js") },
  { id: "hypotheses", title: "Hypotheses", needs: "recording", systems: ["language"],
    load: () => import("../screens/hypotheses.js") },
  { id: "cell", title: "Cell", needs: "recording", systems: ["language"], load: () => import("../screens/cell.js") },
  { id: "text", title: "Text", needs: "recording", systems: ["language"], load: () => import("../screens/text.js") },
  { id: "lab", title: "Causal lab", needs: "recording", systems: ["language"],
    load: () => import("../screens/lab.js") },
  { id: "playground", title: "Playground", needs: "run", systems: ["language"],
    load: () => import("../screens/playground.js") },
  { id: "words", title: "Words", needs: "run", systems: ["classify", "tag"],
    load: () => import("../screens/words.js") },
  { id: "alignment", title: "Alignment", needs: "run", systems: ["translate"],
    load: () => import("../screens/alignment.js") },
  { id: "captions", title: "Captions", needs: "run", systems: ["caption"],
    load: () => import("../screens/captions.js") },
  { id: "gates", title: "Gates", needs: "run", systems: ["language"], load: () => import("../screens/gates.js") },
  { id: "gradients", title: "Gradients", needs: "run", systems: ["language"],
    load: () => import("../screens/gradients.js") },
  { id: "errors", title: "Errors", needs: "run", systems: ["language"], load: () => import("../screens/errors.js") },
];

/** The screens of a run's system; without a run only those that need none. */
export function screensOf(run) {
  return SCREENS.filter(
    (screen) => (run ? screen.systems === "*" || screen.systems.includes(run.system) : screen.needs === "nothing"));
}
