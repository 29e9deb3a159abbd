// Light, dark or as the device has it. A classic script in the head: it runs before anything is
// drawn, so that nothing flashes, and is a file of its own, so that the policy allows it.

globalThis.odaiTheme = (() => {
  const KEY = "odai.theme";
  const NAMES = ["auto", "light", "dark"];

  function chosen() {
    try {
      const kept = localStorage.getItem(KEY);
      return NAMES.includes(kept) ? kept : "auto";
    } catch {
      return document.documentElement.dataset.theme ?? "auto"; // no storage: for this page alone
    }
  }

  function show(name) {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    for (const bar of document.querySelectorAll('meta[name="theme-color"]')) {
      bar.dataset.scheme ??= bar.media.includes("dark") ? "dark" : "light";
      bar.media = name === "auto" ? `(prefers-color-scheme: ${bar.dataset.scheme})`
        : name === bar.dataset.scheme ? "all" : "not all";
    }
  }

  function choose(name) {
    try {
      if (name === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, name);
    } catch {
      // Shown all the same, until the page is left.
    }
    show(name);
  }

  show(chosen());
  addEventListener("storage", ({ key }) => { if (key === KEY || key === null) show(chosen()); });
  return { chosen, choose };
})();
