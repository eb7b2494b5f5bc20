"use strict";

// All that comes from the server or the user is put into the page as text: no HTML is made of it.
function make(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}\u00a0%`;
}

function number(n) {
  return n.toLocaleString("en");
}

function setScore(pill, score) {
  const isKnown = typeof score === "number";
  pill.className = isKnown ? "score" : "score none";
  pill.textContent = isKnown ? score.toFixed(2) : "–";
  pill.title = isKnown ? "score of this step" : "no score";
  pill.style.setProperty("--s", isKnown ? score : 0);
}

function stepRow(score, text) {
  const row = make("div", "step");
  const pill = make("span");
  const line = make("span", "text", text.trim() || "(nothing)");
  setScore(pill, score);
  row.append(pill, line);
  return { row, pill, line };
}

// A tree of steps as nested lists, which grows with the events of a stream (docs/serving.md).
class Tree {
  constructor(list) {
    this.list = list;
    this.nodes = new Map();
    this.drawing = [];
  }

  take(event) {
    if (event.event === "search" && this.nodes.size) this.list.append(make("li", "soft", `Then ${event.strategy}, N = ${event.n}`));
    else if (event.event === "step") this.step(event);
    else if (event.event === "round") this.round(event);
    else if (event.event === "vote") this.vote(event.paths);
  }

  step(event) {
    const node = this.nodes.get(event.node) || this.add(event);
    Object.assign(node, { state: event.state, nDraws: event.n_draws, answer: event.answer ?? node.answer });
    setScore(node.pill, event.score);
    this.show(node);
  }

  add(event) {
    const parent = this.nodes.get(event.parent);
    const item = make("li");
    const { row, pill, line } = stepRow(event.score, event.text);
    const facts = make("span", "facts");
    const below = make("ul");
    line.append(facts);
    item.append(row, below);
    const list = parent ? parent.below : this.list;
    list.append(item);
    list.classList.toggle("chain", list.children.length === 1);
    const node = { item, pill, facts, below, parent, text: event.text, next: 0, isPruned: false, weight: null };
    this.nodes.set(event.node, node);
    return node;
  }

  round(event) {
    for (const node of this.drawing) this.show(Object.assign(node, { next: 0 }));
    const changed = event.left.map((each) => Object.assign(this.nodes.get(each), { isPruned: true }));
    this.drawing = event.kept.filter((kept) => kept.node !== null)
      .map((kept) => Object.assign(this.nodes.get(kept.node), { next: kept.n_draws, isPruned: false }));
    for (const node of [...changed, ...this.drawing]) this.show(node);
  }

  vote(paths) {
    this.paths = paths;
    for (const path of paths) {
      const node = this.nodes.get(path.node);
      this.show(Object.assign(node, { weight: path.weight, answer: path.answer }));
    }
  }

  // Once the search has ended: what was never gone on from is pruned, and the answer's path stands out.
  end(answer) {
    for (const node of this.nodes.values()) {
      node.next = 0;
      if (node.state === "open" && !node.below.children.length) node.isPruned = true;
      this.show(node);
    }
    const alive = new Set();
    for (const node of this.nodes.values()) {
      if (node.state === "finished") for (let each = node; each; each = each.parent) alive.add(each);
    }
    for (const node of this.nodes.values()) node.item.classList.toggle("dead", !alive.has(node));
    const best = (this.paths || []).filter((path) => path.answer === answer)
      .reduce((one, other) => (one && one.weight >= other.weight ? one : other), null);
    for (let each = best && this.nodes.get(best.node); each; each = each.parent) each.item.classList.add("chosen");
  }

  show(node) {
    const said = [];
    if (node.nDraws > 1) said.push(`${node.nDraws}\u00a0draws`);
    if (node.next) said.push(`drawing\u00a0${node.next}`);
    if (node.isPruned) said.push("pruned");
    if (node.state === "cut") said.push("cut by a limit");
    if (node.state === "finished") said.push("finished");
    if (node.answer && !node.text.includes(node.answer)) said.push(`answer ${node.answer}`);
    if (node.weight !== null) said.push(`weight\u00a0${percent(node.weight)}`);
    node.facts.textContent = said.join(", ");
    const classes = { finished: node.state === "finished", cut: node.state === "cut" };
    Object.assign(classes, { pruned: node.isPruned, drawing: node.next > 0 });
    for (const [name, holds] of Object.entries(classes)) node.item.classList.toggle(name, holds);
  }

  get counts() {
    const nodes = [...this.nodes.values()];
    const finished = nodes.filter((node) => node.state === "finished").length;
    const pruned = nodes.filter((node) => node.isPruned).length;
    return `${number(nodes.length)} steps, ${number(finished)} finished, ${number(pruned)} pruned`;
  }
}
