// Work on an element that may wait until the element comes near the window.
var vglabWhenNear = (() => {
  const works = new WeakMap();
  const watcher = new IntersectionObserver(
    (entries) => {
      for (const { target, isIntersecting } of entries) if (isIntersecting) works.get(target)();
    },
    { rootMargin: "600px" },
  );
  return (element, work) => {
    works.set(element, work);
    watcher.unobserve(element); // so that it is told of anew
    watcher.observe(element);
  };
})();
