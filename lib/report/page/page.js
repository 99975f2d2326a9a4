// Charts, tables that sort and pictures of masks, of the data in the page itself. Text from files goes in as text, never as HTML.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const color = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const element = (tag, attributes = {}, text = "") => {
    const e = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
    e.textContent = text;
    return e;
  };

  // Numbers as the tables show them.
  const digits = v => v === 0 ? "0" : Math.abs(v) < 1e-4 || Math.abs(v) >= 1e6 ? v.toExponential(1) : String(+v.toPrecision(3));
  const bytes = v => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let i = 0;
    for (; v >= 999.5 && i < 4; ++i) v /= 1000;
    return digits(v) + " " + units[i];
  };
  const shown = (v, unit) => v == null ? "-" : unit === "share" ? +(100 * v).toFixed(1) + " %" : unit === "bytes" ? bytes(v) :
    unit === "ms" ? digits(v) + " ms" : digits(v);

  // The range of values, a little wider; of a limit too.
  const range = values => {
    let low = Math.min(...values), high = Math.max(...values);
    if (!isFinite(low)) return [0, 1];
    const room = high > low ? (high - low) * 0.08 : Math.abs(high) * 0.05 || 1;
    return [low - room, high + room];
  };
  const present = values => values.filter(v => v != null);

  // A chart of data.charts: series over x, some on a second axis, a limit as a dashed line, the chosen x marked.
  const drawChart = (figure, spec) => {
    const host = figure.querySelector(".plot"), tip = element("div", {class: "tip", role: "status", hidden: ""});
    host.replaceChildren();
    figure.querySelectorAll(".tip").forEach(t => t.remove());
    figure.append(tip);
    const ink = color("--soft"), line = color("--line"), font = "12px system-ui, DejaVu Sans, sans-serif";
    const left = spec.series.filter(s => !s.right), right = spec.series.filter(s => s.right);
    const fitted = list => present(list.filter(s => s.fits).flatMap(s => s.values));
    const leftRange = range([...fitted(left), ...(spec.limit == null ? [] : [spec.limit])]);
    const rightRange = range([0, ...fitted(right)]);
    const columns = [spec.x, ...spec.series.map(s => s.values)];
    const series = [{label: spec.x_label, value: (u, v) => shown(v, spec.x_unit)}];
    spec.series.forEach((s, i) => {
      const stroke = color("--c" + i % 8);
      series.push({label: s.label, scale: s.right ? "right" : "y", stroke, width: s.line ? 2 : 0, dash: s.right ? [4, 4] : undefined, spanGaps: true,
        paths: s.line ? undefined : () => null, points: {show: true, size: s.big ? 12 : 7, stroke, fill: s.line || s.hollow ? color("--card") : stroke, width: 2},
        value: (u, v) => shown(v, s.unit)});
    });
    const axis = (scale, side, label, unit) => ({scale, side, label, stroke: ink, font, labelFont: font, labelSize: 22, size: side % 2 ? 62 : 34, gap: 4,
      grid: {show: side !== 1, stroke: line, width: 1}, ticks: {stroke: line, width: 1}, values: (u, ticks) => ticks.map(t => shown(t, unit))});
    const axes = [axis("x", 2, spec.x_label, spec.x_unit)];
    if (left.length) axes.push(axis("y", 3, spec.y_label, left[0].unit));
    if (right.length) axes.push(axis("right", 1, spec.right_label, right[0].unit));
    const overlay = u => {
      const c = u.ctx;
      c.save();
      c.setLineDash([6, 5]);
      c.lineWidth = 2 * devicePixelRatio;
      c.font = 12 * devicePixelRatio + "px system-ui, DejaVu Sans, sans-serif";
      if (spec.limit != null && left.length) {
        const y = u.valToPos(spec.limit, "y", true);
        c.strokeStyle = c.fillStyle = color("--bad");
        c.beginPath(); c.moveTo(u.bbox.left, y); c.lineTo(u.bbox.left + u.bbox.width, y); c.stroke();
        c.fillText(spec.limit_label, u.bbox.left + 6, y - 5 * devicePixelRatio);
      }
      if (spec.chosen != null) {
        const x = u.valToPos(spec.chosen, "x", true);
        c.strokeStyle = c.fillStyle = color("--ink");
        c.beginPath(); c.moveTo(x, u.bbox.top); c.lineTo(x, u.bbox.top + u.bbox.height); c.stroke();
        const text = "chosen: " + shown(spec.chosen, spec.x_unit), after = x + 6 + c.measureText(text).width < u.bbox.left + u.bbox.width;
        c.textAlign = after ? "left" : "right";
        c.fillText(text, x + (after ? 6 : -6), u.bbox.top + u.bbox.height - 8 * devicePixelRatio);
      }
      c.restore();
    };
    const width = Math.max(240, host.clientWidth);
    const chart = new uPlot({width, height: Math.min(340, Math.max(230, width * 0.5)), series, axes, legend: {show: true, live: false},
      cursor: {drag: {x: false, y: false}, points: {show: false}, y: false, x: false}, padding: [12, right.length ? 4 : 18, 0, 0],
      scales: {x: {time: false, range: (u, low, high) => range([low, high])}, y: {range: () => leftRange}, right: {range: () => rightRange}},
      hooks: {draw: [overlay]}}, columns, host);
    chart.root.querySelector("canvas").setAttribute("role", "img");
    chart.root.querySelector("canvas").setAttribute("aria-label", spec.title + "; the table below has its numbers");
    // The point nearest to the pointer, within 30 pixels.
    chart.over.addEventListener("pointermove", event => {
      const box = chart.over.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      let best = null, reach = 900;
      spec.series.forEach((s, k) => s.values.forEach((v, i) => {
        if (v == null) return;
        const d = (chart.valToPos(spec.x[i], "x") - px) ** 2 + (chart.valToPos(v, s.right ? "right" : "y") - py) ** 2;
        if (d < reach) reach = d, best = {s, i, v};
      }));
      tip.hidden = !best;
      if (!best) return;
      const name = spec.labels && spec.labels[best.i] ? spec.labels[best.i] + "\n" : "";
      tip.textContent = `${name}${best.s.label}: ${shown(best.v, best.s.unit)}\n${spec.x_label}: ${shown(spec.x[best.i], spec.x_unit)}`;
      const frame = figure.getBoundingClientRect();
      const x = event.clientX - frame.left + 14, y = event.clientY - frame.top + 14;
      tip.style.left = Math.max(0, Math.min(x, frame.width - tip.offsetWidth - 8)) + "px";
      tip.style.top = y + "px";
    });
    chart.over.addEventListener("pointerleave", () => tip.hidden = true);
  };
  const drawCharts = () => document.querySelectorAll("figure[data-chart]").forEach(f => drawChart(f, data.charts[f.dataset.chart]));

  // Columns sort by a click on their title, numbers by value; the total and what was left out stay at the end.
  document.querySelectorAll("table.sorts").forEach(table => {
    const body = table.tBodies[0];
    table.querySelectorAll("th button").forEach(button => button.addEventListener("click", () => {
      const th = button.closest("th"), column = th.cellIndex, down = th.getAttribute("aria-sort") !== "descending";
      table.querySelectorAll("th").forEach(t => t.removeAttribute("aria-sort"));
      th.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].filter(r => !r.className || r.className === "chosen"), last = [...body.rows].filter(r => !rows.includes(r));
      const key = r => r.cells[column].dataset.value ?? r.cells[column].textContent;
      const compare = (a, b) => {
        const x = key(a), y = key(b), p = parseFloat(x), q = parseFloat(y);
        if (x === "-" || y === "-") return (x === "-") - (y === "-");
        const order = isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
        return down ? -order : order;
      };
      body.append(...rows.sort(compare), ...last);
    }));
  });

  // A mask: one character a cell, 0 to f by how much of it is kept; lines between parts (gates), the diagonal where it is apart.
  const drawMask = (canvas, mask, scale) => {
    const cell = mask.block, w = mask.cols * cell[1], h = mask.rows * cell[0];
    const fit = scale || Math.max(1, Math.min(4, 512 / Math.max(w, h)));
    canvas.width = Math.max(1, Math.round(w * fit));
    canvas.height = Math.max(1, Math.round(h * fit));
    const c = canvas.getContext("2d"), kept = color("--c0");
    c.fillStyle = color("--page");
    c.fillRect(0, 0, canvas.width, canvas.height);
    c.fillStyle = kept;
    const cw = canvas.width / mask.cols, ch = canvas.height / mask.rows;
    for (let r = 0; r < mask.rows; ++r) {
      for (let k = 0; k < mask.cols; ++k) {
        const share = parseInt(mask.cells[r * mask.cols + k], 16) / 15;
        if (!share) continue;
        c.globalAlpha = 0.15 + 0.85 * share;
        c.fillRect(Math.floor(k * cw), Math.floor(r * ch), Math.max(1, Math.ceil(cw)), Math.max(1, Math.ceil(ch)));
      }
    }
    c.globalAlpha = 1;
    const part = canvas.height / mask.parts;
    if (mask.diagonal) {
      c.strokeStyle = color("--c1");
      c.lineWidth = Math.max(1, fit);
      for (let p = 0; p < mask.parts; ++p) { c.beginPath(); c.moveTo(0, p * part); c.lineTo(canvas.width, (p + 1) * part); c.stroke(); }
    }
    c.strokeStyle = color("--bad");
    c.lineWidth = Math.max(1, fit);
    for (let p = 1; p < mask.parts; ++p) { c.beginPath(); c.moveTo(0, p * part); c.lineTo(canvas.width, p * part); c.stroke(); }
  };
  const dialog = document.querySelector("dialog");
  const drawMasks = () => document.querySelectorAll(".mask").forEach(b => drawMask(b.querySelector("canvas"), data.masks[b.dataset.mask]));
  document.querySelectorAll(".mask").forEach(button => button.addEventListener("click", () => {
    const mask = data.masks[button.dataset.mask];
    dialog.querySelector("h2").textContent = mask.name;
    dialog.querySelector(".about").textContent = mask.about;
    dialog.showModal();
    const largest = Math.max(mask.cols * mask.block[1], mask.rows * mask.block[0]);
    drawMask(dialog.querySelector("canvas"), mask, Math.min(8, Math.max(1, 1600 / largest)));
  }));
  if (dialog) dialog.querySelector("button").addEventListener("click", () => dialog.close());

  const draw = () => { drawCharts(); drawMasks(); };
  draw();
  let waiting = 0;
  addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(drawCharts, 150); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
