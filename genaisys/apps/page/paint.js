// A drawing board: a press or a stroke darkens cells, on dark ones it lightens; the server is told when it is over.
// `element`, `trigger` and `events` come from Gradio.
const board = () => element.querySelector(".board");
const drawing = () => ({
  values: [...element.querySelectorAll(".cells i")].map((cell) => Number(cell.dataset.ink)),
  rows: Number(board().dataset.rows),
});
let stroke = 0; // ink that the stroke adds to a cell; 0 while there is none
let last = null;

function set(cell, ink) {
  const most = Number(board().dataset.most);
  cell.dataset.ink = Math.max(0, Math.min(most, ink));
  cell.style.setProperty("--ink-share", cell.dataset.ink / most);
}

function touch(event) {
  const cell = document.elementFromPoint(event.clientX, event.clientY)?.closest(".cells i");
  if (!cell || cell === last || !element.contains(cell)) return;
  last = cell;
  const cells = [...element.querySelectorAll(".cells i")], side = Number(board().dataset.side), at = cells.indexOf(cell);
  set(cell, stroke > 0 ? Number(board().dataset.most) : 0);
  if (stroke < 0) return;
  // Neighbours get a little, as real pixels of a pen's line do.
  for (const [beside, inside] of [[at - 1, at % side > 0], [at + 1, at % side < side - 1], [at - side, true], [at + side, true]])
    if (inside && cells[beside] && Number(cells[beside].dataset.ink) < 5) set(cells[beside], Number(cells[beside].dataset.ink) + 3);
}

element.addEventListener("pointerdown", (event) => {
  const cell = event.target.closest(".cells i");
  if (!cell) return;
  event.preventDefault();
  stroke = Number(cell.dataset.ink) > 9 ? -1 : 1;
  last = null;
  touch(event);
});
document.addEventListener("pointermove", (event) => { if (stroke) touch(event); });
document.addEventListener("pointerup", () => {
  if (stroke) trigger("painted", drawing());
  stroke = 0;
});

element.addEventListener("input", (event) => {
  board().dataset.rows = event.target.value;
  board().style.setProperty("--rows", event.target.value);
});

element.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.tool === "clear") {
    for (const cell of element.querySelectorAll(".cells i")) set(cell, 0);
    trigger("painted", drawing());
  } else if (events.includes(button.dataset.do)) trigger(button.dataset.do, drawing());
});
