// All arithmetic of the page. The tests compare each function with the package.
const arithmetic = (() => {
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const zip = (a, b, f) => a.map((value, i) => f(value, b[i]));
  const column = (rows, i) => rows.map((row) => row[i]);
  const logistic = (z) => 1 / (1 + Math.exp(-z));
  const softplus = (z) => Math.max(z, 0) + Math.log1p(Math.exp(-Math.abs(z)));

  // Number of the 65,536 values of 16 bits that keep a unit, and the factor of survivors.
  const threshold = (p) => Math.max(Math.round((1 - p) * 65536), p < 1 ? 1 : 0);
  const scale = (p) => 65536 / threshold(p);
  const keep = (lanes, p) => lanes.map((lane) => lane < threshold(p));
  const multiplier = (mask, p) => mask.map((kept) => (kept ? scale(p) : 0));

  const forward = (net, x, multiplier) => {
    const before = net.hiddenBias.map((bias, j) => sum(x.map((value, i) => value * net.hiddenWeight[i][j])) + bias);
    const hidden = before.map((value) => Math.max(value, 0));
    const dropped = zip(hidden, multiplier, (a, m) => a * m);
    const logit = sum(zip(dropped, net.outputWeight, (a, w) => a * w)) + net.outputBias;
    return { x, before, hidden, multiplier, dropped, logit, output: logistic(logit) };
  };

  const loss = (trace, y) => softplus(trace.logit) - y * trace.logit;

  const backward = (net, trace, y) => {
    const error = trace.output - y;
    const hidden = zip(net.outputWeight, trace.multiplier, (w, m) => error * w * m);
    const before = zip(hidden, trace.before, (g, value) => (value > 0 ? g : 0));
    return {
      hiddenWeight: trace.x.map((value) => before.map((g) => value * g)),
      hiddenBias: before,
      outputWeight: trace.dropped.map((value) => value * error),
      outputBias: error,
    };
  };

  // Every mask with its probability and output, and three summaries.
  const subnetworks = (net, x, p, isLogistic) => {
    const units = net.outputWeight.length;
    const kept = threshold(p) / 65536;
    const members = Array.from({ length: 2 ** units }, (_, number) => {
      const mask = Array.from({ length: units }, (_, j) => Boolean((number >> (units - 1 - j)) & 1));
      const probability = mask.reduce((product, k) => product * (k ? kept : 1 - kept), 1);
      const { logit, output } = forward(net, x, multiplier(mask, p));
      return { mask, probability, logit, output: isLogistic ? output : logit };
    });
    const mean = (value) => sum(members.map((member) => member.probability * value(member)));
    const whole = forward(net, x, net.outputWeight.map(() => 1));
    const left = Math.exp(mean((member) => -softplus(-member.logit)));
    const stayed = Math.exp(mean((member) => -softplus(member.logit)));
    return {
      members,
      mean: mean((member) => member.output),
      // Without the logistic function, outputs are centres of normal distributions; their geometric mean is centred at the mean.
      geometricMean: isLogistic ? left / (left + stayed) : mean((member) => member.output),
      weightScaled: isLogistic ? whole.output : whole.logit,
    };
  };

  // Mean of each activation over the first 1, 2, ... masks, and its standard error.
  const convergence = (hidden, lanes, p) => {
    const totals = hidden.map(() => 0);
    const means = lanes.map((one, index) => {
      multiplier(keep(one, p), p).forEach((m, j) => { totals[j] += hidden[j] * m; });
      return totals.map((total) => total / (index + 1));
    });
    const errors = means.map((_, index) => hidden.map((a) => a * Math.sqrt((scale(p) - 1) / (index + 1))));
    return { means, errors };
  };

  // Dropout on the output probabilities, and each row's loss in the step.
  const onOutput = (outputs, y, lanes, p) => {
    const dropped = zip(outputs, multiplier(keep(lanes, p), p), (value, m) => value * m);
    return { dropped, losses: zip(dropped, y, (value, label) => -Math.log(label ? value : 1 - value)) };
  };

  const outcome = (losses) => {
    if (losses.some(Number.isNaN)) return "undefined";
    return losses.includes(Infinity) ? "infinite" : "finite";
  };

  const variance = (values) => {
    const mean = sum(values) / values.length;
    return sum(values.map((value) => (value - mean) ** 2)) / (values.length - 1);
  };

  // Running variance of batch norm with and without dropout, and the standard deviation of its output.
  const batchNorm = (hidden, lanes, p) => {
    const rows = zip(hidden, lanes, (row, one) => zip(row, multiplier(keep(one, p), p), (a, m) => a * m));
    const trainedVariance = hidden[0].map((_, j) => variance(column(rows, j)));
    const plainVariance = hidden[0].map((_, j) => variance(column(hidden, j)));
    // In training, batch norm divides by the variance over n and keeps that over n − 1.
    const batch = Math.sqrt(hidden.length / (hidden.length - 1));
    return {
      trainedVariance,
      variance: plainVariance,
      training: plainVariance.map(() => batch),
      evaluation: zip(plainVariance, trainedVariance, (plain, trained) => Math.sqrt(plain / trained)),
      recalibrated: plainVariance.map(() => 1),
    };
  };

  return {
    threshold, scale, keep, multiplier, forward, loss, backward, subnetworks, convergence, onOutput, outcome, batchNorm,
  };
})();
