// Before the page is drawn, so that it does not flash in the other colours.
(() => {
  let chosen = null;
  try {
    chosen = localStorage.getItem("cemesh.theme");
  } catch {
    // A browser that stores nothing: what the system prefers holds.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
