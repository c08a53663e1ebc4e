// Sorting and filtering as soon as something is chosen.
const form = element.querySelector("form");
const tell = () => trigger("arrange", Object.fromEntries(new FormData(form)));
let rest;
form.addEventListener("input", () => {
  clearTimeout(rest);
  rest = setTimeout(tell, 250);
});
form.addEventListener("submit", (event) => event.preventDefault());
