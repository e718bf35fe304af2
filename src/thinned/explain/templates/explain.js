// Runs at the end of the page; vegaEmbed is in the bundle, `arithmetic` in the script before.
const { specs, ...given } = JSON.parse(document.getElementById("data").textContent);
const { network, x, y, names, rows, norm } = given;
const state = { p: 0.5, call: 0, mask: null, logistic: true };
const views = {};
const element = (id) => document.getElementById(id);
const whole = arithmetic.forward(network, x, [1, 1, 1, 1]);
const rowOutputs = rows.x.map((row) => arithmetic.forward(network, row, [1, 1, 1, 1]).output);

// Numbers as the package writes them; a 0 without decimals is exactly 0.
const text = (value, places = 4) => {
  if (Number.isNaN(value)) return "undefined";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const written = value.toFixed(places);
  return Number(written) ? written.replace("-", "−") : written.replace("-", "");
};
const factor = (value, places = 4) => text(value, places).replace(/\.?0+$/, "");
const places = new Map();
document.querySelectorAll("[data-cell]").forEach((at) => {
  const name = at.dataset.cell;
  places.set(name, [...(places.get(name) ?? []), at]);
});
const write = (name, value) => places.get(name).forEach((at) => { if (at.textContent !== value) at.textContent = value; });
const show = (chart, signals, data) => {
  const view = views[chart];
  if (!view) { // the first drawing starts with these
    const { params = [], datasets } = specs[chart];
    params.forEach((param) => { param.value = signals[param.name]; });
    Object.assign(datasets, data);
    return;
  }
  Object.entries(signals).forEach(([name, value]) => view.signal(name, value));
  Object.entries(data).forEach(([name, values]) => view.data(name, values));
  view.runAsync();
};

const mask = () => state.mask ?? arithmetic.keep(given.lanes[state.call], state.p);

const step = () => {
  const now = mask();
  const trace = arithmetic.forward(network, x, arithmetic.multiplier(now, state.p));
  const gradient = arithmetic.backward(network, trace, y);
  const scale = arithmetic.scale(state.p);
  write("output", text(trace.output));
  write("short-output", text(trace.output, 2));
  write("evaluation", text(whole.output));
  write("loss", text(arithmetic.loss(trace, y)));
  write("scale", factor(scale));
  now.forEach((kept, j) => {
    write(`short-${j}`, text(trace.dropped[j], 2));
    write(`product-${j}`, `${text(trace.hidden[j], 2)} × ${kept ? factor(scale, 2) : 0}`);
    write(`hidden-${j}`, text(trace.hidden[j], 2));
    write(`mask-${j}`, kept ? "1" : "0");
    write(`dropped-${j}`, text(trace.dropped[j]));
    write(`out-${j}`, text(gradient.outputWeight[j]));
    gradient.hiddenWeight.forEach((of, i) => write(`in-${i}-${j}`, text(of[j])));
    document.querySelector(`[data-unit="${j}"]`).setAttribute("aria-checked", String(kept));
    document.querySelectorAll(`[data-edge="${j}"]`).forEach((edge) => edge.classList.toggle("off", !kept));
  });
  element("which").textContent = state.mask ? "Mask set by hand" : `Step ${(state.call + 1).toLocaleString("en")} of 1,000`;
};

const subnetworks = () => {
  const found = arithmetic.subnetworks(network, x, state.p, state.logistic);
  const now = mask().map(Number).join("");
  const members = found.members.map((member, number) => {
    const one = { ...member, mask: member.mask.map(Number).join("") };
    one.now = one.mask === now;
    write(`chance-${number}`, text(one.probability));
    write(`member-${number}`, text(one.output));
    document.querySelector(`[data-member="${number}"]`).classList.toggle("now", one.now);
    return one;
  });
  const values = { mean: found.mean, "geometric mean": found.geometricMean, "weight-scaled": found.weightScaled };
  Object.entries(values).forEach(([way, value]) => write(way, text(value)));
  const outputs = members.map((member) => member.output);
  const low = state.logistic ? 0 : Math.floor(Math.min(...outputs));
  const high = state.logistic ? 1 : Math.ceil(Math.max(...outputs));
  const ways = Object.entries(values).map(([way, value]) => {
    const right = value > (low + high) / 2;
    return { way, value, right, label: right ? `${way} ${text(value)} ` : ` ${way} ${text(value)}` };
  });
  show("subnetworks", { low, high }, { members, ways });
};

const convergence = () => {
  const { means, errors } = arithmetic.convergence(whole.hidden, given.lanes, state.p);
  const last = means.length - 1;
  const shown = means.map((_, index) => index).filter((index) => index < 20 || index % 2 ** Math.floor(Math.log2(index / 10)) === 0 || index === last);
  names.forEach((_, j) => {
    write(`mean-${j}`, text(means[last][j]));
    write(`error-${j}`, text(errors[last][j]));
  });
  const a = whole.hidden;
  const band = shown.map((index) => {
    const reach = (2 * errors[index][0]) / a[0];
    return { count: index + 1, low: 1 - reach, high: 1 + reach };
  });
  const lines = shown.flatMap((index) => names.map((unit, j) => ({ count: index + 1, unit, ratio: means[index][j] / a[j] })));
  const high = Math.max(1.5, Math.min(arithmetic.scale(state.p), 4));
  show("convergence", { low: 0, high }, { band, means: lines });
};

const customers = rows.y.map((left, i) => `${i + 1}: ${left ? "left" : "stayed"}`);
const output = () => {
  const now = arithmetic.onOutput(rowOutputs, rows.y, rows.lanes[state.call], state.p);
  customers.forEach((_, i) => {
    write(`before-${i}`, text(rowOutputs[i]));
    write(`after-${i}`, text(now.dropped[i]));
    write(`row-loss-${i}`, text(now.losses[i]));
  });
  const counts = { finite: 0, infinite: 0, undefined: 0 };
  rows.lanes.forEach((lanes) => {
    counts[arithmetic.outcome(arithmetic.onOutput(rowOutputs, rows.y, lanes, state.p).losses)] += 1;
  });
  Object.entries(counts).forEach(([name, count]) => write(`steps-${name}`, String(count)));
  const high = Math.max(1.25, 1.05 * arithmetic.scale(state.p) * Math.max(...rowOutputs));
  const points = customers.flatMap((customer, i) => [
    { customer, kind: "without dropout", value: rowOutputs[i] },
    { customer, kind: "after dropout", value: now.dropped[i] },
  ]);
  show("output", { low: -0.04 * high, high }, { rows: points, outside: [{ low: 1, high, label: "no probability" }] });
};

const batchNorm = () => {
  const found = arithmetic.batchNorm(norm.hidden, norm.lanes, state.p);
  const spread = names.flatMap((unit, j) => {
    write(`trained-${j}`, text(found.trainedVariance[j]));
    write(`plain-${j}`, text(found.variance[j]));
    write(`ratio-${j}`, text(found.trainedVariance[j] / found.variance[j], 2));
    write(`spread-${j}`, text(found.evaluation[j]));
    return [
      { unit, when: "training", value: found.training[j] },
      { unit, when: "evaluation", value: found.evaluation[j] },
      { unit, when: "evaluation, recalibrated", value: found.recalibrated[j] },
    ];
  });
  show("norm", {}, { spread });
};

const maskChanged = () => { step(); subnetworks(); };
const stepChanged = () => { maskChanged(); output(); };
const rateChanged = () => { stepChanged(); convergence(); batchNorm(); };

const flip = (unit) => {
  state.mask = mask().map((kept, j) => (j === unit ? !kept : kept));
  maskChanged();
};
document.querySelectorAll("[data-unit]").forEach((at) => {
  const unit = Number(at.dataset.unit);
  at.addEventListener("click", () => flip(unit));
  at.addEventListener("keydown", (event) => {
    if (event.key !== " " && event.key !== "Enter") return;
    event.preventDefault();
    flip(unit);
  });
});
element("rate").addEventListener("input", (event) => {
  state.p = Number(event.target.value);
  element("rate-value").textContent = state.p.toFixed(2);
  rateChanged();
});
element("next").addEventListener("click", () => {
  state.call = state.mask ? state.call : (state.call + 1) % given.lanes.length;
  state.mask = null;
  stepChanged();
});
element("logistic").addEventListener("change", (event) => {
  state.logistic = event.target.checked;
  subnetworks();
});
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
rateChanged();
const options = { mode: "vega-lite", renderer: "svg", actions: false, ast: true };
const drawn = [...document.querySelectorAll("[data-chart]")].map(async (place) => {
  views[place.dataset.chart] = (await vegaEmbed(place, specs[place.dataset.chart], options)).view;
});
Promise.all(drawn).then(() => {
  ["rate", "next", "logistic"].forEach((id) => { element(id).disabled = false; });
  document.documentElement.dataset.charts = "drawn";
});
