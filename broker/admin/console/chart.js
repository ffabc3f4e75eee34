// Small pictures of rates over time.

import { rate, svg } from "./ui.js";

/**
 * Draw rates, the last at the right. @param {(number | null)[]} values one for each reading
 * @param {{width: number, height: number, kept: number, kind?: string, most?: number, label: string}} options
 * `kept` is how many values there are room for, `most` the greatest that is drawn.
 */
export function line(values, { width, height, kept, kind = "", most = 0, label }) {
  const top = Math.max(most, 1e-9, ...values.map((each) => each ?? 0));
  const step = width / Math.max(1, kept - 1);
  const first = width - step * (values.length - 1);
  const segments = [];
  let begun = false;
  values.forEach((each, at) => {
    if (each === null) {
      begun = false;
      return;
    }
    const y = height - 1.5 - (each / top) * (height - 4);
    segments.push(`${begun ? "L" : "M"}${(first + at * step).toFixed(1)} ${y.toFixed(1)}`);
    begun = true;
  });
  return svg(
    "svg",
    {
      class: `line ${kind}`,
      viewBox: `0 0 ${width} ${height}`,
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": `${label}: now ${rate(values.at(-1))}`,
    },
    svg("path", { class: "zero", d: `M0 ${height - 1} H${width}` }),
    svg("path", { d: segments.join(" ") || "M0 0" }),
  );
}
