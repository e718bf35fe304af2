// Runs at the end of the page; vegaEmbed is in the bundle. Expressions are interpreted (`ast`), since the page's policy
// forbids making code from text.
const specs = JSON.parse(document.getElementById("specs").textContent);
const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
const views = {};
const drawn = [...document.querySelectorAll("[data-chart]")].map(async (place) => {
  const { view } = await vegaEmbed(place, specs[place.dataset.chart], options);
  views[place.dataset.chart] = view;
});

function showArms(when) {
  views.arms.signal("when", when).runAsync();
}

function showCurves(option) {
  views.curves.signal("shown", Number(option.value)).runAsync();
  for (const name of document.querySelectorAll(".shown-name")) name.textContent = option.textContent;
  const table = document.getElementById("curve-table");
  const places = Number(table.dataset.places);
  const number = new Intl.NumberFormat("en", { minimumFractionDigits: places, maximumFractionDigits: places });
  const curves = specs.curves.datasets.curves.filter((curve) => curve.at === Number(option.value));
  for (const [epoch, row] of [...table.tBodies[0].rows].entries()) {
    for (const [part, curve] of curves.entries()) row.cells[1 + curves.length + part].textContent = number.format(curve.loss[epoch]);
  }
}

// on paper nothing can be opened
const hidden = document.querySelectorAll(".warning details");
window.addEventListener("beforeprint", () => hidden.forEach((details) => { details.open = true; }));
window.addEventListener("afterprint", () => hidden.forEach((details) => { details.open = false; }));

Promise.all(drawn).then(() => {
  const choice = document.getElementById("curve-choice");
  choice.addEventListener("change", () => showCurves(choice.selectedOptions[0]));
  choice.disabled = false;
  for (const button of document.querySelectorAll("input[name=when]")) {
    button.checked = button.value === "best";
    button.addEventListener("change", () => showArms(button.value));
    button.disabled = false;
  }
  document.documentElement.dataset.charts = "drawn";
});
