// Brings dropped or chosen files and folders to the server, one file after the other, then tells it their names.
// On the server each has a generated name; its own name (with its path inside a dropped folder) travels apart, as data.
const zone = element.querySelector(".dropzone");
const line = element.querySelector(".line");
const waiting = [];
let busy = false;

const say = (text) => { line.textContent = text; };

async function filesOf(entry, folder) {
  if (entry.isFile) {
    const file = await new Promise((found, failed) => entry.file(found, failed));
    return [{ file, name: folder + file.name }];
  }
  const reader = entry.createReader();
  const found = [];
  for (;;) { // a reader gives a hundred at a time, then none
    const some = await new Promise((read, failed) => reader.readEntries(read, failed));
    if (!some.length) return found;
    for (const inner of some) found.push(...await filesOf(inner, folder + entry.name + "/"));
  }
}

const suffix = (name) => (/\.[A-Za-z0-9]{1,10}$/.exec(name) || [""])[0];

async function bring(files) {
  waiting.push(...files.filter(({ name }) => !name.split("/").some((part) => part.startsWith("."))));
  if (busy || !waiting.length) return;
  busy = true;
  zone.classList.add("busy");
  const batch = waiting.splice(0, zone.dataset.maxFiles);
  const sent = [];
  for (const [index, { file, name }] of batch.entries()) {
    say(`Receiving ${index + 1} of ${batch.length}`);
    const item = { name, size: file.size, path: "" };
    try { // one that is too large is only named: the server says the rest
      if (file.size <= zone.dataset.maxBytes) {
        item.path = (await upload(new File([file], crypto.randomUUID() + suffix(name)))).path;
      }
    } catch { /* no path: the server reports it as not received */ }
    sent.push(item);
  }
  say("");
  trigger("bring", { files: sent });
}

// The server's list of outcomes says when all are read; then whatever was dropped meanwhile follows.
new MutationObserver(() => {
  if (!busy || !document.querySelector("#outcomes [data-done=true]")) return;
  busy = false;
  zone.classList.remove("busy");
  bring([]);
}).observe(document.querySelector("#outcomes"), { subtree: true, childList: true, attributes: true });

zone.addEventListener("dragover", (event) => { event.preventDefault(); zone.classList.add("over"); });
zone.addEventListener("dragleave", () => zone.classList.remove("over"));
zone.addEventListener("drop", async (event) => {
  event.preventDefault();
  zone.classList.remove("over");
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry()).filter(Boolean);
  const found = [];
  for (const entry of entries) found.push(...await filesOf(entry, ""));
  bring(found);
});
for (const input of element.querySelectorAll("input[type=file]")) {
  input.addEventListener("change", () => {
    bring([...input.files].map((file) => ({ file, name: file.webkitRelativePath || file.name })));
    input.value = "";
  });
}
