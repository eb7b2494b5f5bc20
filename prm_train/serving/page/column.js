// The JSON objects of a stream of server-sent events.
async function* eventsOf(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      if (event.startsWith("data: {")) yield JSON.parse(event.slice("data: ".length));
    }
  }
}

// What one strategy is doing, and what it found.
class Column {
  constructor(body) {
    this.body = body;
    this.article = find("column").content.cloneNode(true).firstElementChild;
    this.at = (selector) => this.article.querySelector(selector);
    this.tree = new Tree(this.at(".tree"));
    this.begun = performance.now();
    this.title(body.search.strategy || defaultName());
    this.at(".going").textContent = "Waiting for its turn.";
    this.cost = {};
  }

  title(text) {
    this.at("h2").textContent = text;
    this.article.setAttribute("aria-label", text);
  }

  async run(signal) {
    try {
      const body = JSON.stringify(this.body);
      const reply = await fetch("v1/chat/completions", { method: "POST", headers: headers(), body, signal });
      if (reply.status === 401) find("key-row").hidden = false;
      if (!reply.ok) return this.fail(await refusalOf(reply));
      for await (const chunk of eventsOf(reply)) this.take(chunk);
      if (!this.found && !this.error) this.fail("The stream ended without an answer.");
    } catch (error) {
      this.fail(error.name === "AbortError" ? "Stopped." : "The connection to the server was lost.");
    }
  }

  take(chunk) {
    if (chunk.error) this.fail(chunk.error.message);
    else if (chunk.search) this.end(chunk);
    else if (chunk.progress) this.progress(chunk.progress);
    else this.write(chunk.choices[0].delta.content || "");
  }

  progress(event) {
    this.tree.take(event);
    if (event.event === "search") {
      this.title(`${event.strategy}, N = ${event.n}`);
      this.at(".going").textContent = "Searching.";
    } else if (event.event === "cost") {
      this.showCost({ generated: event.generated_tokens, scored: event.scorer_tokens });
    } else {
      this.at(".grown").hidden = false;
      this.at(".counts").textContent = this.tree.counts;
    }
  }

  // The text of a single path, which comes as it is written.
  write(text) {
    const written = this.at(".written");
    written.textContent += text;
    written.hidden = !written.textContent;
  }

  showCost(known) {
    Object.assign(this.cost, known, { seconds: (performance.now() - this.begun) / 1000 });
    const words = { generated: "Generated", read: "Read", cached: "From cache", scored: "Scored" };
    const facts = Object.entries(words).filter(([key]) => this.cost[key] !== undefined)
      .map(([key, name]) => [name, `${number(this.cost[key])} tokens`]);
    if (this.cost.price !== undefined) facts.push(["Price", this.cost.price.toPrecision(3)]);
    facts.push(["Time", `${this.cost.seconds.toFixed(1)} s`]);
    this.at(".cost").replaceChildren(...facts.map(([name, value]) => {
      const fact = make("div");
      fact.append(make("dt", "", name), make("dd", "", value));
      return fact;
    }));
  }

  end(chunk) {
    const { search, usage } = chunk;
    const details = usage.search_details;
    this.found = search;
    this.title(`${search.strategy}, N = ${search.n}`);
    this.at(".going").textContent = howItEnded(search, details);
    this.at(".written").hidden = true;
    this.showCost({
      generated: usage.completion_tokens, read: details.prefilled_tokens,
      cached: details.cached_tokens, scored: details.scorer_tokens, price: usage.cost,
    });
    this.showAnswer(search);
    this.at(".steps ol").replaceChildren(...(search.steps || []).map((step) => {
      const item = make("li");
      item.append(stepRow(step.score, step.text).row);
      return item;
    }));
    this.at(".steps").hidden = !(search.steps || []).length;
    this.tree.end(search.answer);
    this.at(".counts").textContent = this.tree.counts;
  }

  showAnswer(search) {
    this.at(".found").hidden = false;
    this.at(".answer").textContent = search.answer ?? `No answer: ${search.unsolved}.`;
    this.at(".answer").classList.toggle("none", search.answer === null);
    if (search.answer === null) return;
    this.at(".confidence").textContent = `${this.confidence}, seed ${search.seed}`;
    const shares = Object.entries(search.shares).slice(0, 5);
    this.at(".shares").replaceChildren(...shares.map(([answer, share]) => {
      const line = make("div", "share");
      const bar = make("div", "bar");
      bar.append(make("span"));
      bar.firstChild.style.setProperty("--s", share);
      line.append(make("span", "", answer), make("span", "", percent(share)), bar);
      return line;
    }));
  }

  // Of best_of_n it is the score of the sample that was chosen.
  get confidence() {
    const { strategy, confidence } = this.found;
    return strategy === "best_of_n" ? `score ${confidence.toFixed(2)}` : `${percent(confidence)} of the vote`;
  }

  get name() {
    return this.found ? this.found.strategy : this.at("h2").textContent;
  }

  get summary() {
    if (this.error) return this.error;
    return this.found.answer === null ? "no answer" : `${this.found.answer}, ${this.confidence}`;
  }

  fail(message) {
    this.error = message;
    this.at(".going").textContent = "";
    this.at(".error").textContent = message;
    this.at(".error").hidden = false;
  }
}

function howItEnded(search, details) {
  const said = [];
  if (details.answer_cached) said.push("Answered before: this is kept from then.");
  if (search.route) said.push(`Routed to the ${search.route.path} path: ${search.route.reason}.`);
  if (search.stopped) said.push(`Ended by ${search.stopped}.`);
  return said.join(" ");
}

// Answers side by side, a column a strategy.
function compare(columns) {
  const known = (value, shown) => (value === undefined ? "–" : shown(value));
  const rows = [
    ["N", (column) => (column.found ? number(column.found.n) : "–")],
    ["Answer", (column) => (column.error ? "–" : column.found.answer ?? "none")],
    ["Confidence", (column) => (column.error || column.found.answer === null ? "–" : column.confidence)],
    ["Tokens generated", (column) => known(column.cost.generated, number)],
    ["Tokens scored", (column) => known(column.cost.scored, number)],
    ["Seconds", (column) => known(column.cost.seconds, (seconds) => seconds.toFixed(1))],
  ];
  const table = make("table");
  const head = make("tr");
  head.append(make("td"), ...columns.map((column) => heading(column.name, "col")));
  table.append(make("caption", "", "Side by side"), make("thead"), make("tbody"));
  table.tHead.append(head);
  for (const [name, shown] of rows) {
    const row = make("tr");
    row.append(heading(name, "row"), ...columns.map((column) => make("td", "", shown(column))));
    table.tBodies[0].append(row);
  }
  find("compared").replaceChildren(table);
  find("compared").hidden = false;
}

function heading(text, scope) {
  const cell = make("th", "", text);
  cell.scope = scope;
  return cell;
}
