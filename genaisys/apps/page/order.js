// An order: all that the forms of the rail say, told to the server when the button is clicked.
function order() {
  const ranges = {};
  for (const wish of document.querySelectorAll(".wish")) {
    const [low, high] = wish.querySelectorAll("input");
    const from = low.value === low.min ? null : Number(low.value), to = high.value === high.max ? null : Number(high.value);
    if (from !== null || to !== null) ranges[wish.dataset.name] = [from, to];
  }
  const setting = (name) => Number(document.querySelector(`.setting [name=${name}]`).value);
  return { ranges, start: document.querySelector("#start-smiles").value, count: setting("count"), temperature: setting("temperature") };
}

element.addEventListener("click", (event) => {
  const target = event.target.closest("button[data-do]");
  if (target) trigger(target.dataset.do, target.dataset.do === "generate" ? order() : {});
});
