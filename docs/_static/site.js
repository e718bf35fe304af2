// what scrolls can be reached by the keyboard
document.addEventListener("DOMContentLoaded", () => {
  for (const area of document.querySelectorAll("div.output_subarea.output_html, .pst-scrollable-table-container")) {
    area.tabIndex = 0;
  }
});
