// `npm test` runs these in Node, without wasm and without a host.

import assert from "node:assert/strict";
import { test } from "node:test";

import { answer } from "./answer.js";

const ask = (target) => answer(new Request(`http://localhost${target}`));

test("it says hello", async () => {
  const response = await ask("/?name=J%C3%B6rg");
  assert.equal(response.status, 200);
  assert.equal(await response.text(), "hello, Jörg\n");
});

test("it knows one page", async () => {
  assert.equal((await ask("/other")).status, 404);
});
