// Work that may wait until the browser has nothing better to do, a few milliseconds at a time.
var vglabWhenIdle = (() => {
  const waiting = [];
  const later =
    window.requestIdleCallback ?? ((run) => setTimeout(run, 50, { timeRemaining: () => 5 }));
  const run = (deadline) => {
    do waiting.shift()();
    while (waiting.length && deadline.timeRemaining() > 4);
    if (waiting.length) later(run);
  };
  return (work) => {
    if (waiting.push(work) === 1) later(run);
  };
})();
