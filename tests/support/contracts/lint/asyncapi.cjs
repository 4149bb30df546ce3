// Check an AsyncAPI document with the standard parser: `node asyncapi.cjs FILE`. Prints what it says of it, one line
// each, as JSON. An Avro payload is checked by its own parser, and an example by the payload's schema.
const { readFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const [installed, file] = process.argv.slice(2);
const load = createRequire(`${installed}/`);
const { Parser } = load("@asyncapi/parser");
const { AvroSchemaParser } = load("@asyncapi/avro-schema-parser");

const parser = new Parser();
parser.registerSchemaParser(AvroSchemaParser());
parser.parse(readFileSync(file, "utf8"), { source: file }).then(({ document, diagnostics }) => {
  for (const { code, severity, message, path } of diagnostics) {
    console.log(JSON.stringify({ code, severity, message, path: path.join(".") }));
  }
  process.exitCode = document ? 0 : 1;
});
