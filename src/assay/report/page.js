(() => {
  "use strict";
  const root = document.documentElement;
  const dark = JSON.parse(document.getElementById("dark").textContent);
  const prefers = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : prefers.matches);

  // Charts: the specs carry the light colours; in the dark theme each is replaced by its counterpart.
  const recolour = (node, key) => {
    if (typeof node === "string") return dark[node] || node;
    if (!node || typeof node !== "object" || key === "data" || key === "datasets") return node;
    if (Array.isArray(node)) return node.map((item) => recolour(item));
    return Object.fromEntries(Object.entries(node).map(([name, item]) => [name, recolour(item, name)]));
  };
  const views = [];
  const draw = async (inDark) => {
    while (views.length) views.pop().finalize();
    for (const box of document.querySelectorAll(".chart")) {
      const spec = JSON.parse(document.getElementById(box.dataset.spec).textContent);
      try {
        const options = { renderer: "svg", actions: false, ast: true, tooltip: { theme: "custom", offsetY: 14 } };
        views.push(await vegaEmbed(box, inDark ? recolour(spec) : spec, options));
      } catch (error) {
        box.textContent = "This chart could not be drawn here; its figures are in the table below. (" + error.message + ")";
      }
    }
    root.dataset.drawn = String(views.length);
  };
  let queue = Promise.resolve();
  const redraw = (inDark) => { queue = queue.then(() => draw(inDark)); };

  const toggle = document.getElementById("theme");
  const label = () => { toggle.textContent = isDark() ? "Light" : "Dark"; };
  toggle.hidden = false;
  toggle.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; label(); redraw(isDark()); });
  prefers.addEventListener("change", () => { label(); redraw(isDark()); });

  // Paper is light, and shows what is folded.
  let before = null;
  addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme, open: [...document.querySelectorAll("details:not([open])")] };
    before.open.forEach((item) => { item.open = true; });
    if (isDark()) { root.dataset.theme = "light"; redraw(false); }
  });
  addEventListener("afterprint", () => {
    if (!before) return;
    before.open.forEach((item) => { item.open = false; });
    if (before.theme) root.dataset.theme = before.theme; else delete root.dataset.theme;
    redraw(isDark());
    before = null;
  });

  // One tooltip for terms and tokens: pointer, touch and keyboard.
  const tip = document.getElementById("tip");
  let current = null;
  let pointer = null; // an edge of a drawing is large: its tooltip goes to the pointer
  const place = (target) => {
    const near = pointer && target instanceof SVGElement;
    const at = near ? { left: pointer.x + 10, top: pointer.y - 6, bottom: pointer.y + 6 } : target.getBoundingClientRect();
    const box = tip.getBoundingClientRect();
    const left = Math.max(12, Math.min(at.left, innerWidth - box.width - 12));
    const above = at.bottom + 8 + box.height > innerHeight;
    tip.style.left = left + "px";
    tip.style.top = (above ? Math.max(8, at.top - box.height - 8) : at.bottom + 8) + "px";
    if (at.bottom < 0 || at.top > innerHeight) hide(target);
  };
  const show = (target) => {
    current = target;
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    target.setAttribute("aria-describedby", "tip");
    place(target);
  };
  const hide = (target) => {
    current = null;
    tip.hidden = true;
    if (target) target.removeAttribute("aria-describedby");
  };
  const of = (event) => event.target instanceof Element && event.target.closest("[data-tip]");
  // In a drawing, what is pointed at stands out: a node with its edges, or one edge.
  const light = (target) => {
    const drawing = target && target.closest("svg.circuit");
    for (const other of document.querySelectorAll("svg.circuit.focus")) other.classList.remove("focus");
    if (!drawing) return;
    const name = target.dataset.n;
    for (const edge of drawing.querySelectorAll(".edges .e")) {
      edge.classList.toggle("on", name ? edge.dataset.w === name || edge.dataset.r === name : edge === target);
    }
    drawing.classList.add("focus");
  };
  document.addEventListener("pointerover", (event) => {
    const target = of(event);
    pointer = { x: event.clientX, y: event.clientY };
    if (target) { show(target); light(target); }
  });
  document.addEventListener("pointerout", (event) => { const target = of(event); if (target) { hide(target); light(null); } });
  document.addEventListener("focusin", (event) => { const target = of(event); pointer = null; if (target) show(target); });
  document.addEventListener("focusout", (event) => hide(of(event)));
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(null); });
  // Focus scrolls to what it reaches: the tooltip goes along.
  addEventListener("scroll", () => { if (current) place(current); }, { passive: true, capture: true });

  // Arrow keys walk along the tokens of an example; only one of them is a tab stop.
  document.addEventListener("keydown", (event) => {
    const token = event.target instanceof Element && event.target.closest(".tokens span");
    if (!token) return;
    const next = { ArrowRight: token.nextElementSibling, ArrowLeft: token.previousElementSibling,
      Home: token.parentElement.firstElementChild, End: token.parentElement.lastElementChild }[event.key];
    if (!next) return;
    event.preventDefault();
    token.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  });

  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      const said = button.textContent;
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
      }
      setTimeout(() => { button.textContent = said; }, 2500);
    });
  }
  label();
  redraw(isDark());
})();
