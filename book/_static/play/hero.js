// The front page's living picture: gradients that vanish, and return, in a network computed here.
import { calm, make } from "./kit.js";
import { criticalSigmaW, network, chi } from "./flow-model.js";

const [DEPTH, WIDTH, SHOWN] = [32, 64, 16];
const DECADES = 4; // a dot's radius falls to nothing over so many powers of ten
const PERIOD = 16; // seconds of one sweep of the weights, down and up
const PASS = 2.2; // seconds in which a wave runs from the loss to the input
const REACH = 0.5; // how far the sweep goes: weights of 2^-REACH to 2^REACH times the critical size
