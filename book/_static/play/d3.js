// d3 as a module: the published file, unchanged, is a script that names itself globally.
import "../vendor/d3.min.js";

export const { d3 } = globalThis;
