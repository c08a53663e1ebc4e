// Sliders, examples and small buttons of the molecules tab: what needs no word from the server.

// A slider with two handles that do not pass each other. At the ends it means any.
function showWish(wish, moved) {
  const [low, high] = wish.querySelectorAll("input");
  if (Number(low.value) > Number(high.value)) (moved === high ? high : low).value = (moved === high ? low : high).value;
  const from = Number(low.value), to = Number(high.value), span = low.max - low.min;
  const open = low.value === low.min, end = high.value === high.max;
  const range = wish.querySelector(".range");
  range.style.setProperty("--from", (from - low.min) / span);
  range.style.setProperty("--to", (to - low.min) / span);
  low.style.zIndex = from > (Number(low.min) + Number(low.max)) / 2 ? 3 : 2; // both at the right end: the left one moves
  const written = (value) => value.toFixed(wish.dataset.digits);
  const words = open && end ? "any" : open ? `at most ${written(to)}` : end ? `at least ${written(from)}`
    : `${written(from)} – ${written(to)}`;
  wish.classList.toggle("set", !(open && end));
  wish.querySelector("output").textContent = words;
  const bins = JSON.parse(wish.dataset.bins), width = (bins.high - bins.low) / bins.counts.length;
  const left = open ? -Infinity : from, right = end ? Infinity : to;
  let inside = 0, all = 0;
  bins.counts.forEach((count, number) => {
    const first = bins.low + number * width, last = first + width;
    const whole = (number === 0 && open) || (number === bins.counts.length - 1 && end);
    inside += count * (whole && left < last && right > first ? 1
      : Math.max(0, Math.min(right, last) - Math.max(left, first)) / width);
    all += count;
  });
  const share = 100 * inside / all;
  wish.querySelector(".share").textContent = open && end ? "" : `${share < 1 ? "under 1" : Math.round(share)} % of known`;
}

const showSetting = (setting) => {
  setting.querySelector("output").textContent = Number(setting.querySelector("input").value).toFixed(setting.dataset.digits);
};

function resetWishes() {
  for (const wish of document.querySelectorAll(".wish")) {
    const [low, high] = wish.querySelectorAll("input");
    low.value = low.min;
    high.value = high.max;
    showWish(wish);
  }
}

function startFrom(smiles) {
  const box = document.querySelector("#start-smiles");
  box.value = smiles;
  box.dispatchEvent(new Event("input", { bubbles: true }));
}

document.addEventListener("input", (event) => {
  const wish = event.target.closest(".wish"), setting = event.target.closest(".setting");
  if (wish) showWish(wish, event.target);
  if (setting) showSetting(setting);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if ("reset" in button.dataset) resetWishes();
  if (button.dataset.grow) {
    startFrom(button.dataset.grow);
    document.querySelector("#proposal .close")?.click();
  }
  if (button.dataset.copy) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
  if (button.dataset.order) { // an example
    const order = JSON.parse(button.dataset.order);
    resetWishes();
    for (const [name, [from, to]] of Object.entries(order.ranges || {})) {
      const wish = document.querySelector(`.wish[data-name=${name}]`), [low, high] = wish.querySelectorAll("input");
      if (from !== null) low.value = from;
      if (to !== null) high.value = to;
      showWish(wish);
    }
    startFrom(order.start || "");
    document.querySelector(".generate").click();
  }
});
