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

  // Paper is light; what is folded stays folded, and is printed where it was opened.
  let before = null;
  addEventListener("beforeprint", () => {
    before = { theme: root.dataset.theme };
    if (isDark()) { root.dataset.theme = "light"; redraw(false); }
  });
  addEventListener("afterprint", () => {
    if (!before) return;
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

  const said = document.getElementById("said");
  for (const button of document.querySelectorAll("button[data-copy]")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const source = document.getElementById(button.dataset.copy);
      const before = [...button.childNodes];
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = "Copied";
      } catch {
        reveal(source);
        getSelection().selectAllChildren(source);
        button.textContent = "Selected: press Ctrl+C";
      }
      said.textContent = button.textContent;
      setTimeout(() => { button.replaceChildren(...before); }, 2500);
    });
  }

  // What a link leads to is unfolded.
  const reveal = (target) => {
    for (let at = target; at; at = at.parentElement) if (at.tagName === "DETAILS") at.open = true;
    const own = target && target.querySelector(":scope > details");
    if (own) own.open = true;
  };
  const followed = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target) { reveal(target); target.scrollIntoView(); }
  };
  addEventListener("hashchange", followed);
  document.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[href^='#']");
    if (!link) return;
    reveal(document.getElementById(link.hash.slice(1)));
    if (link.closest("summary")) event.stopPropagation();
  });

  // The table of contents follows: the section that is at the top of the window is the current one.
  const entries = [...document.querySelectorAll(".toc a")];
  const bar = document.querySelector(".toc") || document.body;
  let shown = null;
  const follow = () => {
    const edge = Math.min(160, innerHeight / 3);
    let now = entries[0];
    for (const entry of entries) {
      const section = document.getElementById(entry.hash.slice(1));
      if (section && section.getBoundingClientRect().top <= edge) now = entry;
    }
    if (innerHeight + scrollY >= document.documentElement.scrollHeight - 2 && scrollY > 0) now = entries[entries.length - 1];
    if (!now || now === shown) return;
    if (shown) shown.removeAttribute("aria-current");
    now.setAttribute("aria-current", "true");
    shown = now;
    if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = now.offsetLeft - bar.clientWidth / 3;
  };
  addEventListener("scroll", follow, { passive: true });
  addEventListener("resize", follow);

  // A click on a column's head sorts by it: from above first where `falling` has it, then the other way.
  const sortable = (box, body, rows, value, falling) => {
    const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : (a ?? -Infinity) - (b ?? -Infinity));
    for (const head of box.querySelectorAll("th[data-sort]")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const key = head.dataset.sort;
        const now = head.getAttribute("aria-sort");
        const down = now ? now === "ascending" : falling.has(key);
        for (const other of box.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        body.replaceChildren(...[...rows].sort((a, b) => (down ? -1 : 1) * compare(value(a, key), value(b, key))));
      });
    }
  };

  // The worst examples: a table that is sorted and filtered, and the tokens of the one that was picked.
  const worst = () => {
    const box = document.getElementById("examples");
    if (!box) return;
    const data = JSON.parse(document.getElementById("worst-data").textContent);
    const rows = [...box.querySelectorAll("tbody tr")];
    const body = rows[0].parentElement;
    const look = document.getElementById("look");
    let measure = "kl";
    let picked = 0;
    let token = data.examples[0].focus;
    const make = (name, kind, text) => {
      const node = document.createElement(name);
      if (kind) node.className = kind;
      if (text !== undefined) node.textContent = text;
      return node;
    };
    const num = (value, places = 2) => (value === null ? "–" : value.toFixed(places).replace("-", "−"));
    const per = (p) => (p < 0.0001 ? "< 0.01" : p >= 0.0995 ? (100 * p).toFixed(0) : p >= 0.00995 ? (100 * p).toFixed(1) : (100 * p).toPrecision(1)) + " %";
    const colour = new Map(data.runs.map(([key], i) => [key, "r" + ({ model: 0, explained: 1, floor: 2 })[key]]));
    const own = data.runs.findIndex(([key]) => key === "explained");
    const base = data.runs.findIndex(([key]) => key === "model");
    const gap = (figures) => (figures[own][0] === null || figures[base][0] === null ? null : figures[own][0] - figures[base][0]);
    const shade = (figures) => {
      const value = measure === "kl" ? figures[own][1] : gap(figures);
      if (value === null) return "";
      const deep = [0.05, 0.3, 1, 2].filter((step) => Math.abs(value) >= step).length;
      return deep ? (value > 0 ? "w" : "b") + deep : "";
    };
    const figure = (run) => (measure === "kl" ? run[1] : run[0]);
    const spoken = ([text, figures]) => {
      if (!figures) return text + ": not scored";
      const parts = data.runs.map(([, name], i) => name + " " + data.loss + " " + num(figures[i][0]));
      return text + ": KL " + num(figures[own][1]) + ", " + parts.join(", ");
    };
    const panel = (example) => {
      const [text, figures] = example.tokens[token];
      const runs = make("div", "runs");
      data.runs.forEach(([key, name], i) => {
        const one = make("div", colour.get(key));
        one.append(make("h4", "", name));
        const [loss, kl, tops] = figures ? figures[i] : [null, null, []];
        const told = [data.loss + " " + num(loss)];
        if (key !== "model" && kl !== null) told.push("KL " + num(kl));
        if (data.probability && loss !== null) told.push("gives it " + per(Math.exp(-loss)));
        one.append(make("p", "", told.join(" · ")));
        const list = make("ol");
        list.setAttribute("aria-label", "likeliest in the " + name);
        for (const [other, p] of tops) {
          const item = make("li", other.trimEnd() === text.trimEnd() ? "right" : "");
          item.style.setProperty("--p", 100 * p + "%");
          item.append(make("span", "", other), make("span", "", per(p)));
          list.append(item);
        }
        if (tops.length) one.append(list);
        runs.append(one);
      });
      return runs;
    };
    const draw = (focus) => {
      const example = data.examples[picked];
      rows.forEach((row, i) => row.setAttribute("aria-selected", String(i === picked)));
      const line = make("div", "toks");
      line.setAttribute("role", "listbox");
      line.setAttribute("aria-orientation", "horizontal");
      line.setAttribute("aria-label", "tokens of the example");
      const known = example.tokens.filter(([, figures]) => figures);
      const top = Math.max(1e-9, ...known.flatMap(([, figures]) => figures.map((run) => figure(run) || 0)));
      example.tokens.forEach(([text, figures], i) => {
        const one = make("span", "tok " + (figures ? shade(figures) : "bare"));
        one.setAttribute("role", "option");
        one.setAttribute("aria-selected", String(i === token));
        one.setAttribute("aria-label", spoken([text, figures]));
        one.tabIndex = i === token ? 0 : -1;
        one.dataset.t = i;
        if (figures) {
          const bars = make("span", "bars");
          figures.forEach((run, k) => {
            if (measure === "kl" && k === base) return;
            const bar = make("i", colour.get(data.runs[k][0]));
            bar.style.height = 100 * Math.sqrt(Math.max(0, figure(run) || 0) / top) + "%";
            bars.append(bar);
          });
          one.append(bars);
        }
        one.append(make("span", "", text.replace("\n", "")));
        line.append(one);
        if (text.endsWith("\n")) line.append(make("span", "break"));
      });
      const head = make("p", "picked");
      const [text, figures] = example.tokens[token];
      head.append(make("mark", "", text.trim() || text), figures ? " KL " + num(figures[own][1]) + ", " + data.loss + " gap " + num(gap(figures)) : " is context: it was not scored");
      look.replaceChildren(...(example.tokens.length > 1 ? [line] : []), head, panel(example));
      look.hidden = false;
      if (focus) line.children.length && line.querySelector("[aria-selected=true]").focus();
    };
    const pick = (i) => { picked = i; token = data.examples[i].focus; draw(); };
    rows.forEach((row, i) => {
      row.classList.add("can");
      row.tabIndex = 0;
      row.addEventListener("click", () => pick(i));
      row.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); pick(i); }
        const next = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key];
        let at = next && row[next];
        while (at && at.hidden) at = at[next];
        if (at) { event.preventDefault(); at.focus(); }
      });
    });
    const at = (event) => event.target instanceof Element && event.target.closest(".tok");
    const choose = (one, focus) => { if (one && Number(one.dataset.t) !== token) { token = Number(one.dataset.t); draw(focus); } };
    look.addEventListener("pointerover", (event) => { if (event.pointerType === "mouse") choose(at(event)); });
    look.addEventListener("click", (event) => choose(at(event), true));
    look.addEventListener("keydown", (event) => {
      const last = data.examples[picked].tokens.length - 1;
      const to = { ArrowRight: token + 1, ArrowLeft: token - 1, Home: 0, End: last }[event.key];
      if (!at(event) || to === undefined || to < 0 || to > last) return;
      event.preventDefault();
      token = to;
      draw(true);
    });
    for (const button of box.querySelectorAll("[data-measure]")) {
      button.addEventListener("click", () => {
        measure = button.dataset.measure;
        for (const other of box.querySelectorAll("[data-measure]")) other.setAttribute("aria-pressed", String(other === button));
        draw();
      });
    }
    const filter = document.getElementById("filter");
    const narrow = () => {
      rows.forEach((row, i) => { row.hidden = Boolean(filter.value) && !data.examples[i].slices.includes(filter.value); });
      const first = rows.findIndex((row) => !row.hidden);
      said.textContent = rows.filter((row) => !row.hidden).length + " examples";
      if (first >= 0) pick(Number([...body.children].find((row) => !row.hidden).dataset.i));
    };
    if (filter) filter.addEventListener("change", narrow);
    for (const link of document.querySelectorAll("a[data-filter]")) {
      link.addEventListener("click", () => { filter.value = link.dataset.filter; narrow(); });
    }
    const order = (row, key) => data.examples[row.dataset.i].order[key];
    sortable(box, body, rows, order, new Set(["kl", "gap"]));
    box.querySelector("[data-sort=kl]").setAttribute("aria-sort", "descending");
    box.querySelector(".choose").hidden = false;
    draw();
  };
  // The index of a folder: sorted by a column, filtered by words and kinds.
  const index = () => {
    const table = document.querySelector("table.runs");
    if (!table) return;
    const body = table.tBodies[0];
    const rows = [...body.rows];
    const find = document.getElementById("find");
    const chosen = [...document.querySelectorAll("select[data-column]")];
    const narrow = () => {
      const asked = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        const fits = chosen.every((one) => !one.value || row.dataset[one.dataset.column] === one.value);
        row.hidden = !fits || !asked.every((word) => text.includes(word));
      }
      document.getElementById("count").textContent = rows.filter((row) => !row.hidden).length + " of " + rows.length;
    };
    find.addEventListener("input", narrow);
    for (const one of chosen) one.addEventListener("change", narrow);
    const keys = new Map(rows.map((row) => [row, JSON.parse(row.dataset.order)]));
    sortable(table, body, rows, (row, at) => keys.get(row)[at], new Set(["4", "6"]));
    document.querySelector(".choose").hidden = false;
    narrow();
  };
  worst();
  index();
  label();
  redraw(isDark());
  queue.then(() => { followed(); follow(); });
})();
