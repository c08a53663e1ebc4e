// The menu of narrow windows, and the Escape key.
document.addEventListener("click", (event) => {
  const open = document.body.classList.contains("menu-open");
  if (event.target.closest("[data-menu]")) document.body.classList.toggle("menu-open");
  else if (open && !event.target.closest("#rail")) document.body.classList.remove("menu-open");
  else if (open && event.target.closest("[data-do=switch], [data-do=open]")) document.body.classList.remove("menu-open");
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  document.querySelector(".reader .close")?.click();
  document.body.classList.remove("menu-open");
});
