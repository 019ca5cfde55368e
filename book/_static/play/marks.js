// Many markers as one path: hundreds of elements would not move sixty times a second.
import { d3 } from "./d3.js";

/** Path data of the same d3 symbol, `size` square pixels, at each of the points [x, y]. */
export const marks = (points, symbol, size) => {
  const path = d3.path();
  for (const [dx, dy] of points) {
    symbol.draw(
      {
        moveTo: (x, y) => path.moveTo(x + dx, y + dy),
        lineTo: (x, y) => path.lineTo(x + dx, y + dy),
        arc: (x, y, ...rest) => path.arc(x + dx, y + dy, ...rest),
        rect: (x, y, ...rest) => path.rect(x + dx, y + dy, ...rest),
        closePath: () => path.closePath(),
      },
      size,
    );
  }
  return path.toString();
};
