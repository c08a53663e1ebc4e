// What is pasted or typed as a start, told to the server when the typing rests.
let rest;
element.addEventListener("input", (event) => {
  clearTimeout(rest);
  rest = setTimeout(() => trigger("paste", { smiles: event.target.value }), 250);
});
