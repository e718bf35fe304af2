// Runs at the end of the page; vegaEmbed is in the bundle. Expressions are interpreted (`ast`), since the page's policy
// forbids making code from text.
const specs = JSON.parse(document.getElementById("specs").textContent);
const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
const views = {};
const drawn = [...document.querySelectorAll("[data-chart]")].map(async (place) => {
  const { view } = await vegaEmbed(place, specs[place.dataset.chart], options);
  views[place.dataset.chart] = view;
});
const choice = document.getElementById("rate-choice");
Promise.all(drawn).then(() => {
  if (choice) {
    const show = () => {
      views.curves.signal("shown", Number(choice.value)).runAsync();
      document.getElementById("shown-name").textContent = choice.selectedOptions[0].dataset.name;
    };
    choice.addEventListener("change", show);
    choice.disabled = false;
  }
  document.documentElement.dataset.charts = "drawn";
});
