"use strict";
// The page shows /v1/status and /v1/instances, looks again every few seconds
// and whenever an event arrives, and follows the events. Whatever comes from
// the server is put in as text, never as markup.

const every = 3000;
const keptEvents = 200;
const $ = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  e.append(...children.filter((c) => c !== undefined && c !== null && c !== ""));
  return e;
}

function age(from, now) {
  const s = Math.max(0, Math.round((new Date(now) - new Date(from)) / 1000));
  if (s < 60) return s + "s";
  if (s < 3600) return Math.floor(s / 60) + "m" + (s % 60) + "s";
  if (s < 86400) return Math.floor(s / 3600) + "h" + Math.floor((s % 3600) / 60) + "m";
  return Math.floor(s / 86400) + "d" + Math.floor((s % 86400) / 3600) + "h";
}

function bar(label, share) {
  const fill = make("div", "fill" + (share >= 0.9 ? " full" : share >= 0.7 ? " high" : ""));
  fill.style.width = Math.min(100, Math.max(0, (share || 0) * 100)) + "%";
  const text = share === undefined ? "–" : Math.round(share * 100) + " %";
  const row = make("div", "bar", label && make("span", "small", label), make("div", "track", fill), make("span", "", text));
  row.setAttribute("role", "img");
  row.setAttribute("aria-label", (label || "use") + " " + text);
  return row;
}

function dots(s) {
  const row = make("div", "dots");
  let active = 0;
  for (const phase of ["ready", "starting", "assigned", "draining", "failed"]) {
    for (let n = 0; n < s.phases[phase]; n++) {
      const d = make("span", "dot " + phase);
      d.title = phase;
      row.append(d);
      if (phase !== "draining" && phase !== "failed") active++;
    }
  }
  for (; active < s.desired; active++) row.append(make("span", "dot wish"));
  return row;
}

function card(s) {
  const bounds = s.autoscaled ? `min ${s.min} · max ${s.max}` : s.stateful ? "one, owns data" : "not autoscaled";
  return make("article", "card",
    make("div", "head",
      make("span", "name", s.name),
      make("span", "count", `${s.phases.ready} / ${s.desired}`)),
    make("div", "head",
      make("span", "small", s.image),
      make("span", "small", bounds)),
    dots(s),
    bar("cpu", s.cpu),
    bar("memory", s.memory),
    s.hold !== undefined ? make("p", "small held", `held at ${s.hold} by an operator`) : "",
    s.sentence ? make("p", "small", s.sentence) : "",
    s.pending ? make("p", "small wrong", s.pending) : "",
    ...backups(s.backup),
    s.failures ? make("p", "small wrong", `${s.failures.count} in a row failed: ${s.failures.reason}`) : "",
    ...Object.entries(s.rejected || {}).map(([host, why]) => make("p", "small wrong", `nginx on ${host} refuses its site: ${why}`)));
}

// backups says how those of a service stand; nothing where it has none.
function backups(b) {
  if (!b) return [];
  const when = (t) => new Date(t).toISOString().slice(0, 16).replace("T", " ") + " UTC";
  const words = [b.last ? `backed up ${when(b.last.began)}` : "no backup yet"];
  words.push(b.known_to_restore ? `known to restore: ${when(b.known_to_restore.began)}` : "not known to restore");
  if (b.next) words.push(`next ${when(b.next)}`);
  if (b.task) words.push(`${b.task.kind} under way`);
  const lines = [make("p", "small", words.join(" · "))];
  if (b.problem) lines.push(make("p", "small wrong", `backup: ${b.problem}`));
  return lines;
}

// outside is a database that is backed up and runs elsewhere.
function outside(b) {
  return make("article", "card",
    make("div", "head", make("span", "name", b.service), make("span", "small", `${b.engine}, outside`)),
    ...backups(b));
}

function row(i, now) {
  const phase = make("span", i.sick ? "failed" : i.phase, (i.sick ? "sick" : i.phase) + (i.outdated ? " (old)" : "") + (i.canary ? " (canary)" : ""));
  if (i.sick || i.reason) phase.title = i.sick || i.reason;
  const use = i.sample || {};
  return make("tr", "",
    make("td", "", i.name), make("td", "", phase), make("td", "", age(i.phase_at, now)),
    make("td", "", i.host), make("td", "", i.address || "–"),
    make("td", "", bar("", use.cpu)), make("td", "", bar("", use.memory)));
}

const hostColour = { ready: "ready", draining: "draining", lost: "failed" };

function hostRow(h, now) {
  const state = make("span", hostColour[h.state], h.state === "lost" ? `lost ${age(h.lost_since, now)}` : h.state);
  const notes = [];
  if (h.clock_ahead_seconds) notes.push(`its clock is off by ${Math.round(h.clock_ahead_seconds)} s`);
  if (h.spec_error) notes.push("its compose file is not in force");
  const refused = Object.keys(h.rejected_sites || {});
  if (refused.length) notes.push("nginx refuses " + refused.join(", "));
  if (h.data) notes.push("holds the data of " + h.data.join(", "));
  for (const [k, v] of Object.entries(h.labels || {})) notes.push(`${k}=${v}`);
  return make("tr", "",
    make("td", "", h.name), make("td", "", state), make("td", "", h.role), make("td", "", String(h.instances)),
    make("td", "", bar("", h.cpus ? h.reserved_cpus / h.cpus : undefined)),
    make("td", "", bar("", h.memory_bytes ? h.reserved_memory_bytes / h.memory_bytes : undefined)),
    make("td", "small", notes.join("; ")));
}

const certColour = { good: "ready", overdue: "draining", none: "failed", expired: "failed" };

function certRow(c) {
  let note = c.waits || (c.imported ? "imported" : "");
  if (c.error) note = `${c.failures} in a row failed, ${c.failed_challenge}${c.failed_at ? " at " + c.failed_at : ""}: ${c.error}`;
  return make("tr", "",
    make("td", "", c.name), make("td", "", make("span", certColour[c.state], c.state)),
    make("td", "", c.issuer || "–"), make("td", "", c.not_after ? c.not_after.slice(0, 10) : "–"), make("td", "small", note));
}

function pills(health) {
  const parts = [["overall", health.overall]];
  for (const name of ["system", "engine", "nginx", "raft"]) if (health[name]) parts.push([name, health[name].status, health[name].detail]);
  for (const d of health.databases.concat(health.others || [])) parts.push([d.name, d.status, d.detail]);
  return parts.map(([name, status, detail]) => {
    const p = make("span", "pill " + status, name === "overall" ? status : name);
    p.title = detail ? `${status}: ${detail}` : status;
    return p;
  });
}

function canary(k) {
  if (!k) return "";
  const verdicts = Object.entries(k.verdicts).map(([name, v]) => `\n${name}: ${v.why}`);
  return `A canary serves ${Math.round(k.share * 1000) / 10} % of the requests beside revision ${k.base}: ${k.change}${verdicts.join("")}`;
}

function banner(id, text) {
  $(id).textContent = text;
  $(id).hidden = !text;
}

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store" });
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

let timer;
let asking = false;
let again = false;

async function refresh() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  clearTimeout(timer);
  try {
    const [status, instances, certs] = await Promise.all([ask("/v1/status"), ask("/v1/instances"), ask("/v1/certs")]);
    const leads = status.raft.is_leader ? "leads" : status.raft.leader ? `follows ${status.raft.leader}` : "no leader";
    $("where").textContent = `${status.host} · ${status.version} · ${leads} · ${status.spec.project || "no"} revision ${status.spec.revision}${status.spec.state ? ` (${status.spec.state})` : ""} · up ${age(status.started_at, status.at)}`;
    $("health").replaceChildren(...pills(status.health));
    banner("problems", status.spec.problems.map((p) => `The edit on ${p.host} is not in force, revision ${status.spec.revision} goes on:\n${p.problem}`).join("\n\n"));
    banner("paused", status.spec.state === "paused" ? `Revision ${status.spec.revision} is paused: ${status.spec.why}` : "");
    banner("canary", canary(status.canary));
    $("services").replaceChildren(...status.services.map(card), ...(status.outside || []).map(outside));
    $("hosts").replaceChildren(...status.hosts.map((h) => hostRow(h, status.at)));
    $("certs").replaceChildren(...certs.certs.map(certRow));
    $("certs-section").hidden = certs.certs.length === 0;
    $("instances").replaceChildren(...instances.instances.map((i) => row(i, instances.at)));
    banner("lost", status.connected ? "" : "This host is cut off: it knows no leader. What is shown may be old, and nothing can be changed here.");
  } catch (err) {
    banner("lost", `No answer from the daemon, trying again. What is shown is old. (${err.message})`);
  }
  asking = false;
  timer = setTimeout(refresh, again ? 200 : every);
  again = false;
}

const shown = new Set();

function show(e) {
  if (shown.has(e.seq)) return;
  shown.add(e.seq);
  const at = make("time", "", new Date(e.at).toLocaleTimeString([], { hour12: false }));
  at.dateTime = e.at;
  at.title = e.at;
  const list = $("events");
  list.prepend(make("li", e.kind, at, make("span", "kind", e.kind), make("span", "", e.message)));
  while (list.children.length > keptEvents) list.lastChild.remove();
}

async function follow() {
  let after;
  try {
    const latest = await ask("/v1/events?limit=50");
    latest.events.forEach(show);
    after = latest.last_event;
  } catch {
    setTimeout(follow, every);
    return;
  }
  // The browser connects again by itself, from the last event it has seen.
  const events = new EventSource("/v1/events/stream?after=" + after);
  events.onmessage = (m) => {
    show(JSON.parse(m.data));
    refresh();
  };
  events.onerror = () => {
    if (events.readyState === EventSource.CLOSED) setTimeout(follow, every);
  };
}

refresh();
follow();
