// A file that the server has put into this element, handed to the browser.
watch("value", () => {
  const file = element.querySelector("data");
  if (!file) return;
  const bytes = Uint8Array.from(atob(file.dataset.content), (character) => character.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes]));
  link.download = file.dataset.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
});
