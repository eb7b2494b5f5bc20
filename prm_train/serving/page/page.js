const find = (id) => document.getElementById(id);
const MOST_RUNS = 4;
const OF_SAMPLES = ["majority", "weighted", "best_of_n"]; // which may stop early
let server = { data: [], default: {}, max_n: 1 };
let asking = null; // what ends the requests under way

function headers() {
  const key = find("key").value.trim();
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

function say(text) {
  find("status").textContent = text;
}

// The server's own words for what went wrong, or ours where there are none.
async function refusalOf(reply) {
  try {
    return (await reply.json()).error.message;
  } catch {
    return `The server answered ${reply.status} ${reply.statusText}.`;
  }
}

async function meet() {
  try {
    const reply = await fetch("v1/strategies", { headers: headers() });
    if (reply.status === 401) {
      find("key-row").hidden = false;
      say(find("key").value ? "The server knows no such API key." : "This server asks for an API key.");
    } else if (reply.status === 503) {
      say("The server is loading its models.");
      setTimeout(meet, 1000 * Number(reply.headers.get("Retry-After") || 5));
    } else if (!reply.ok) {
      say(await refusalOf(reply));
    } else {
      welcome(await reply.json());
    }
  } catch {
    say("The server does not answer.");
  }
}

function welcome(found) {
  server = found;
  const [model, scorer] = [found.models[0], found.scorers[0]];
  find("about").textContent = scorer ? `${model}, checked by ${scorer}` : model;
  offer(find("model"), found.models);
  offer(find("scorer"), found.scorers);
  if (!find("runs").children.length) addRun();
  say("");
  document.documentElement.dataset.state = "ready";
}

// A choice is shown where there is one.
function offer(select, names) {
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  select.parentElement.hidden = names.length < 2;
}

function chosen(select) {
  return select.selectedIndex > 0 ? select.value : undefined;
}

function defaultName() {
  const { strategy, n } = server.default;
  return strategy ? `as set: ${strategy}, N = ${n}` : "as set";
}

function addRun() {
  const run = find("run").content.cloneNode(true).firstElementChild;
  const select = run.querySelector(".strategy");
  select.append(new Option(defaultName(), ""), ...server.data.map(({ id }) => new Option(id, id)));
  run.querySelector(".n").max = server.max_n;
  run.querySelector(".remove").addEventListener("click", () => {
    const next = run.nextElementSibling || run.previousElementSibling;
    run.remove();
    nameRuns();
    next.querySelector("select").focus();
  });
  find("runs").append(run);
  nameRuns();
  return run;
}

function nameRuns() {
  const runs = [...find("runs").children];
  runs.forEach((run, place) => {
    run.setAttribute("aria-label", `Strategy ${place + 1}`);
    run.querySelector(".remove").hidden = runs.length === 1;
    run.querySelector(".remove").setAttribute("aria-label", `Remove strategy ${place + 1}`);
  });
  find("add").hidden = runs.length === MOST_RUNS;
}

const numberIn = (field) => (field.value === "" ? undefined : Number(field.value));

function seedOf() {
  const [high, low] = crypto.getRandomValues(new Uint32Array(2));
  return numberIn(find("seed")) ?? (high & 0x1fffff) * 2 ** 32 + low;
}

// One seed for all, so that strategies which draw the same are shown the same draws.
function bodies() {
  const seed = seedOf();
  return [...find("runs").children].map((run) => {
    const name = run.querySelector(".strategy").value;
    const given = run.querySelector(".given").value.trim();
    const strategy = given ? [name || server.default.strategy, given].filter(Boolean).join(":") : name || undefined;
    const early = OF_SAMPLES.includes(name || server.default.strategy) && find("stop_early").value;
    const search = { return_steps: true, strategy, n: numberIn(run.querySelector(".n")) };
    search.scorer = chosen(find("scorer"));
    Object.assign(search, { budget_tokens: numberIn(find("budget_tokens")), stop_early: early || undefined });
    Object.assign(search, { confidence: early ? numberIn(find("confidence")) : undefined });
    return {
      model: chosen(find("model")),
      messages: [{ role: "user", content: find("question").value }],
      stream: true,
      seed,
      temperature: numberIn(find("temperature")),
      max_tokens: numberIn(find("max_tokens")),
      search,
    };
  });
}

async function ask() {
  if (asking) asking.abort();
  const mine = new AbortController();
  asking = mine;
  const columns = bodies().map((body) => new Column(body));
  find("results").style.setProperty("--columns", columns.length);
  find("results").replaceChildren(...columns.map((column) => column.article));
  find("compared").hidden = true;
  find("status").className = "";
  find("stop").hidden = false;
  find("hide-row").hidden = false;
  document.documentElement.dataset.state = "asking";
  say(columns.length === 1 ? "Asked." : `Asked ${columns.length} strategies.`);
  await Promise.all(columns.map((column) => column.run(mine.signal)));
  if (asking !== mine) return; // asked again meanwhile
  asking = null;
  if (document.activeElement === find("stop")) find("ask").focus();
  find("stop").hidden = true;
  if (columns.length > 1) compare(columns);
  find("status").className = columns.length > 1 ? "spoken" : ""; // all of it stands in the table
  say(columns.map((column) => `${column.at("h2").textContent}: ${column.summary}`).join("; "));
  document.documentElement.dataset.state = "done";
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  ask();
});
// A field that is folded away cannot say what is wrong with it.
find("form").addEventListener("invalid", () => { find("more").open = true; }, true);
find("question").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("form").requestSubmit();
});
find("add").addEventListener("click", () => addRun().querySelector("select").focus());
find("stop").addEventListener("click", () => asking && asking.abort());
find("key").addEventListener("change", meet);
find("hide").addEventListener("change", () => find("results").classList.toggle("hides", find("hide").checked));
meet();
