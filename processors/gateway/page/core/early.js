// Before anything is painted: the theme that was chosen.

try {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "dark";
} catch {
  // Storage is forbidden: it stays as the page has it.
}
