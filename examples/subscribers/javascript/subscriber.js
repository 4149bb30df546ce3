// A subscriber: the totals of a contest and of the areas directly in it, what is to report, and whether the feed lives.
//
//     node subscriber.js newsroom-demo.properties http://127.0.0.1:28081 pe-2021-president-runoff
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { SchemaRegistry } from "@kafkajs/confluent-schema-registry";
import kafkajs from "kafkajs";

const [file, registry, contest] = process.argv.slice(2);
const access = Object.fromEntries(readFileSync(file, "utf8").split("\n").map((line) => line.split(/=(.*)/)));
const user = access["sasl.username"];
const kafka = new kafkajs.Kafka({
  brokers: access["bootstrap.servers"].split(","),
  ssl: { ca: readFileSync(join(dirname(file), access["ssl.ca.location"])) }, // lies beside the file
  sasl: { mechanism: "scram-sha-512", username: user, password: access["sasl.password"] },
  logLevel: kafkajs.logLevel.ERROR,
});
const schemas = new SchemaRegistry({ host: registry });

const totals = new Map();
let isLive = false;

// The last count of each area holds, whatever is sent again.
function onTotal(row) {
  if (row.contest_id !== contest || row.area_path.length > 2) return;
  const before = totals.get(row.area_id);
  if (before && (row.as_of_offset < before.as_of_offset || row.event_id === before.event_id)) return;
  totals.set(row.area_id, row);
  if (isLive) tellTotal(row, before?.event_id);
}

// A count; and what changed and why, where it follows the one that was printed before.
function tellTotal(row, before) {
  const at = new Date(row.as_of_reported_at ?? row.as_of_recorded_at).toISOString().replace(".000", "");
  const isPart = (s) => (`votes.${s.selection_id}` in row.stated_by ? " (stated by some)" : "");
  const votes = row.selections.map((s) => `${s.selection_id} ${s.votes ?? "not stated"}${isPart(s)}`); // null is not zero
  const counted = `${votes.join(", ")}; ${row.percent_counted ?? "?"} % counted`;
  const said = row.state === "COUNTED" ? counted : `${row.state}, ${row.reason ?? ""}`;
  say(`TOTAL ${row.area_id} as of ${at} (${row.as_of_offset}): ${said}`, row.is_test);
  if (before && row.previous_event_id === before) tellWhy(row);
}

function onNotice(notice) {
  if (notice.contest_id !== contest) return;
  say(`NOTICE ${notice.kind}: ${notice.sentence}`, notice.is_test);
  tellWhy(notice);
}

function tellWhy({ change, events, is_test }) {
  for (const name of Object.keys(change).sort()) {
    say(`  ${name} ${change[name] > 0 ? "+" : ""}${change[name]}`, is_test);
  }
  for (const { kind, unit, reason } of events) {
    if (reason) say(`  ${kind} ${unit}: ${reason}`, is_test); // of a correction, a retraction
  }
}

// No message says that ingest is dead, or the count: its signs of life fail to come. It is behind where it lacks what
// was on the log at the sign before.
function life(who) {
  let is, end, silence;
  const listen = (ms) => {
    clearTimeout(silence);
    silence = setTimeout(() => say(`${(is = "DEAD")}: ${who}, or its way to the broker; the figures are no longer new`), ms);
  };
  listen(10_000);
  return (sign) => {
    if (sign.contest_id !== contest) return;
    listen(2 * sign.next_within_ms);
    const now = sign.fault ?? sign.blocked ?? (sign.next_offset < end ? "behind the log" : "alive");
    if (now !== is) say(`${who.toUpperCase()}: ${(is = now)}`);
    end = sign.end_offset ?? end;
  };
}
const lives = { "results.ingest-status": life("ingest"), "results.count-status": life("the count") };

// Texts of others may have invisible characters.
function say(line, isTest = false) {
  console.log((isTest ? "TEST, no result: " : "") + line.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, "?"));
}

// Each follows one topic, in one group of its own that it keeps. Only of notices is it kept how far they were read.
const follow = async (topic, fromBeginning, eachBatch) => {
  const consumer = kafka.consumer({ groupId: `${user}.${topic}`, sessionTimeout: 10_000, maxWaitTimeInMs: 500 });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning });
  await consumer.run({ autoCommit: false, eachBatch: (batch) => eachBatch(batch, consumer) });
  return consumer;
};
const consumers = [
  follow("results.totals", true, async ({ batch }) => {
    for (const { value } of batch.messages) onTotal(await schemas.decode(value));
    if (!isLive && BigInt(batch.lastOffset()) + 1n >= BigInt(batch.highWatermark)) {
      isLive = true;
      for (const area of [...totals.keys()].sort()) tellTotal(totals.get(area));
    }
  }),
  follow("results.notices", true, async ({ batch: { topic, partition, messages } }, consumer) => {
    for (const { value, offset } of messages) {
      onNotice(await schemas.decode(value));
      await consumer.commitOffsets([{ topic, partition, offset: String(BigInt(offset) + 1n) }]);
    }
  }),
  ...Object.entries(lives).map(([topic, hear]) =>
    follow(topic, false, async ({ batch }) => {
      for (const { value } of batch.messages) hear(await schemas.decode(value));
    }),
  ),
];
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, async () => {
    await Promise.all(consumers.map(async (one) => (await one).disconnect())); // leaves its group: the next goes on at once
    process.exit();
  });
}
