// Homographies between the sheet and its picture, as 3x3 matrices in nine numbers, row by row.

// Solve a small square system by elimination with pivoting.
function solve(matrix, right) {
  const n = right.length;
  const rows = matrix.map((row, i) => [...row, right[i]]);
  for (let column = 0; column < n; column++) {
    let best = column;
    for (let i = column + 1; i < n; i++) if (Math.abs(rows[i][column]) > Math.abs(rows[best][column])) best = i;
    [rows[column], rows[best]] = [rows[best], rows[column]];
    for (let i = 0; i < n; i++) {
      if (i === column) continue;
      const factor = rows[i][column] / rows[column][column];
      for (let k = column; k <= n; k++) rows[i][k] -= factor * rows[column][k];
    }
  }
  return rows.map((row, i) => row[n] / row[i]);
}

// The homography that takes points [x, y] to points, by weighted least squares.
// Lengths are of the order of the sheet (thousands), so they are scaled to about one for the sake of the arithmetic.
export function homography(from, to, weights = from.map(() => 1)) {
  const scale = 1000;
  const normal = Array.from({ length: 8 }, () => new Array(8).fill(0));
  const right = new Array(8).fill(0);
  const add = (row, value, weight) => {
    for (let i = 0; i < 8; i++) {
      right[i] += weight * row[i] * value;
      for (let k = 0; k < 8; k++) normal[i][k] += weight * row[i] * row[k];
    }
  };
  from.forEach(([a, b], index) => {
    const [x, y] = [a / scale, b / scale];
    const [u, v] = to[index].map((value) => value / scale);
    add([x, y, 1, 0, 0, 0, -u * x, -u * y], u, weights[index]);
    add([0, 0, 0, x, y, 1, -v * x, -v * y], v, weights[index]);
  });
  const h = solve(normal, right);
  return [h[0], h[1], h[2] * scale, h[3], h[4], h[5] * scale, h[6] / scale, h[7] / scale, 1];
}

export function project(h, [x, y]) {
  const depth = h[6] * x + h[7] * y + h[8];
  return [(h[0] * x + h[1] * y + h[2]) / depth, (h[3] * x + h[4] * y + h[5]) / depth];
}

export function isConvex(points) {
  const turns = points.map((a, i) => {
    const [b, c] = [points[(i + 1) % points.length], points[(i + 2) % points.length]];
    return (b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]);
  });
  return turns.every((turn) => turn > 0) || turns.every((turn) => turn < 0);
}
