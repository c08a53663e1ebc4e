// What is clicked or sent inside this element, told to the server as an event of the name in its data-do.
// The names are listed before this text; `element`, `trigger` and `watch` come from Gradio.
element.addEventListener("click", (event) => {
  const fold = event.target.closest("[data-fold]");
  if (fold) fold.closest("details").open = false;
  const target = event.target.closest("button[data-do]");
  if (target && events.includes(target.dataset.do)) trigger(target.dataset.do, { ...target.dataset });
});

element.addEventListener("submit", (event) => {
  event.preventDefault();
  trigger(event.target.dataset.do, Object.fromEntries(new FormData(event.target)));
});

// One open question at a time.
element.addEventListener("toggle", (event) => {
  if (!event.target.open) return;
  for (const other of element.querySelectorAll("details[open]")) if (other !== event.target) other.open = false;
  event.target.querySelector("input")?.focus();
}, true);

// A passage that was just opened is scrolled to; so is a question that was just asked.
let turns = 0;
watch("value", () => {
  const reader = element.querySelector(".reader");
  if (reader) {
    const text = reader.querySelector(".text");
    const mark = reader.querySelector("mark");
    text.scrollTop = mark ? mark.offsetTop - text.clientHeight / 3 : 0;
    reader.querySelector(".close").focus({ preventScroll: true });
  }
  const now = element.querySelectorAll(".turn").length;
  if (now > turns) element.querySelector(".turn:last-child").scrollIntoView({ behavior: "smooth", block: "start" });
  turns = now;
});
