// The menu of narrow windows, and the Escape key.
document.addEventListener("click", (event) => {
  const open = document.body.classList.contains("menu-open");
  const chosen = "[data-do=switch], [data-do=open], [data-do=generate], [role=tab]";
  if (event.target.closest("[data-menu]")) document.body.classList.toggle("menu-open");
  else if (open && (!event.target.closest(".rail") || event.target.closest(chosen))) document.body.classList.remove("menu-open");
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const close of document.querySelectorAll(".reader .close")) if (close.checkVisibility()) close.click();
  document.body.classList.remove("menu-open");
});
