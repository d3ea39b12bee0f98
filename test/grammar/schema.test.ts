import { describe, expect, test } from "vitest"
import type { Schema } from "../../src/grammar/schema.ts"
import { fits } from "../reference/json_schema.ts"
import { randomFrom } from "../tokenizer/fixtures.ts"
import { accepts, randomText } from "./accepts.ts"
import { SCHEMAS } from "./schemas.ts"

const ANY = { type: ["object", "array", "string", "number", "boolean", "null"] }

describe("a schema's automaton", () => {
  test.each<[what: string, schema: Schema, yes: string[], no: string[]]>([
    [
      "any JSON object",
      true,
      ["{}", '{"a":[1,{"b":"c"}]}'],
      ["[]", "1", "", '{"a":}', '{"a":1,}', '{"a":1}}', "{a:1}"],
    ],
    ["any value", {}, ["1", '""', "[]", "{}", "null", "true"], ["nul", "nulll", "[1,]", "'a'"]],
    [
      "strings",
      { type: "string" },
      ['""', '"é😀"', '"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\uFFFF\\ud7ff\\ue000"', '"\u007f"'],
      ['"', '"""', '"\n"', '"\\x41"', '"\\u12"', '"\\ud83d\\ude00"', '"\\uD800"', "a"],
    ],
    [
      "lengths in code points, however they are written",
      { type: "string", minLength: 2, maxLength: 3 },
      ['"ab"', '"😀😀😀"', '"\\n\\u0041"'],
      ['"a"', '"\\u0041"', '"abcd"', '"😀"'],
    ],
    [
      "numbers",
      { type: "number" },
      ["0", "-0", "-1.5e+10", "123456789012345.123456789012345E-99"],
      ["01", "1.", ".5", "+1", "1e", "1e100", "1234567890123456", "0.1234567890123456", "NaN"],
    ],
    ["integers", { type: "integer" }, ["0", "-7", "999999999999999"], ["-0", "1.0", "1e3", "1000000000000000"]],
    [
      "white space, bounded",
      { type: "object", properties: { a: { items: { type: "integer" } } }, required: ["a"] },
      ['{"a":[1,2]}', '{ "a": [ 1, 2 ] }', `{\n  "a": [\n\t1,\n${" ".repeat(20)}2\n  ]\n}`],
      [
        '{  "a":[]}',
        '{"a" :[]}',
        `{\n${" ".repeat(21)}"a":[]}`,
        ' {"a":[]}',
        '{"a":[]} ',
        '{"a":[1 ,2]}',
        '{\n\n"a":[]}',
      ],
    ],
    [
      "properties in their order, those that are optional left out",
      { properties: { a: true, b: { type: "null" }, c: { type: "null" } }, required: ["b"] },
      ['{"b":null}', '{"a":{"b":1},"b":null}', '{"b":null,"c":null}', '{"a":1,"b":null,"c":null}'],
      [
        "{}",
        '{"a":1}',
        '{"b":null,"a":1}',
        '{"b":null,"b":null}',
        '{"b":null,"d":1}',
        '{"b":1}',
        '{"c":null}',
        '{,"b":null}',
      ],
    ],
    [
      "other properties under names that are not taken",
      { properties: { ab: { const: 1 }, a: { const: 1 } }, additionalProperties: { const: 2 } },
      ["{}", '{"ab":1,"a":1}', '{"a":1,"b":2}', '{"":2,"abc":2,"A":2}', '{"ab":1,"a\\n":2}', '{"b":2,"b":2}'],
      ['{"a":2}', '{"ab":2}', '{"\\u0061":2}', '{"abc":1}', '{"abc":2,"a":1}'],
    ],
    ["other properties without properties", { additionalProperties: { const: 2 } }, ["{}", '{"x":2}'], ['{"x":1}']],
    ["no other properties", { properties: {}, additionalProperties: false }, ["{}"], ['{"x":1}']],
    [
      "items and their number",
      { items: { const: 1 }, minItems: 1, maxItems: 3 },
      ["[1]", "[1,1,1]"],
      ["[]", "[1,1,1,1]", "[1,]", "[,1]", "[2]"],
    ],
    ["no items", { type: "array", maxItems: 0 }, ["[]", "[ ]"], ["[1]"]],
    ["a prefix", { prefixItems: [{ const: 1 }, { const: 2 }] }, ["[]", "[1]", "[1,2]"], ["[2]", "[1,2,3]", "[1,1]"]],
    [
      "a prefix and more than it",
      { prefixItems: [{ const: 1 }], minItems: 2 },
      ['[1,"x"]', "[1,2,3]"],
      ["[1]", "[2,2]"],
    ],
    ["a prefix cut short", { prefixItems: [{ const: 1 }, { const: 2 }], maxItems: 1 }, ["[]", "[1]"], ["[1,2]"]],
    ["a prefix with others", { prefixItems: [{ const: 1 }], items: { const: 2 } }, ["[]", "[1,2,2]"], ["[2]", "[1,1]"]],
    [
      "enum and const, as JSON.stringify writes them",
      { enum: [1, "a\u2028é", { b: [null] }, 1e21] },
      ["1", '"a\u2028é"', '{"b":[null]}', "1e+21"],
      ["1.0", '"a"', '{"b": [null]}'],
    ],
    ["an enum of which the type takes a part", { type: "integer", enum: [1, 1.5, "1"] }, ["1"], ["1.5", '"1"']],
    ["booleans for schemas", { properties: { a: false, b: true } }, ["{}", '{"b":[]}'], ['{"a":1}']],
    [
      "references to anywhere, that come again",
      { properties: { "a/b~": { items: { $ref: "#" }, maxItems: 1 }, c: { $ref: "#/properties/a~1b~0" } } },
      ['{"a/b~":[{"c":[{}]}]}', "{}"],
      ['{"a/b~":[1]}', '{"c":[[]]}'],
    ],
    ["what cannot be finished is left out", { anyOf: [{ $ref: "#" }, { const: 1 }] }, ["1"], ["2", ""]],
    [
      "an object that must hold itself is left out",
      {
        properties: { a: { $ref: "#/$defs/x" } },
        $defs: { x: { properties: { x: { $ref: "#/$defs/x" } }, required: ["x"] } },
      },
      ["{}"],
      ['{"a":{"x":{}}}', '{"a":'],
    ],
    ["keywords that speak of another type", { type: "null", minLength: 3, format: "int32" }, ["null"], ['"abc"']],
    [
      "names that objects have by themselves",
      { properties: { constructor: { const: 1 }, toString: { const: 2 } } },
      ["{}", '{"constructor":1}'],
      [],
    ],
    ["undefined as absent", { type: "string", maxLength: undefined, title: undefined }, ['"abc"'], ["1"]],
  ])("%s", (_, schema, yes, no) => {
    const accepted = accepts(schema)
    for (const text of yes) {
      expect(accepted(text), text).toBe(true)
      expect(() => JSON.parse(text)).not.toThrow()
    }
    for (const text of no) expect(accepted(text), text).toBe(false)
  })

  test.each(Object.entries(SCHEMAS))("lets nothing through that does not fit: %s", (name, schema) => {
    const next = randomFrom(name.length)
    const texts = Array.from({ length: 20 }, () => randomText(schema, next)).filter((text) => text !== undefined)
    expect(texts.length).toBeGreaterThan(5)
    for (const text of texts) expect(fits(schema, JSON.parse(text)), text).toBe(true)
  })

  test("takes apart what differs: values that the definition refuses are refused", () => {
    const next = randomFrom(5)
    const values = Array.from({ length: 200 }, () => randomText(ANY, next, 60)).filter((text) => text !== undefined)
    const own = Object.values(SCHEMAS).flatMap((schema) =>
      Array.from({ length: 5 }, () => randomText(schema, next)).filter((text) => text !== undefined),
    )
    let taken = 0
    for (const schema of Object.values(SCHEMAS)) {
      const accepted = accepts(schema)
      for (const text of [...values, ...own]) {
        if (!accepted(text)) continue
        expect(fits(schema, JSON.parse(text)), `${text} for ${JSON.stringify(schema)}`).toBe(true)
        taken++
      }
    }
    expect(taken).toBeGreaterThan(100)
  })
})

test("a schema may be large: long chains of references, long texts, many values", () => {
  const $defs = Object.fromEntries(
    Array.from({ length: 4000 }, (_, i) => [i, i < 3999 ? { items: { $ref: `#/$defs/${i + 1}` } } : { const: 1 }]),
  )
  const nested = accepts({ $ref: "#/$defs/0", $defs })
  expect(nested(`${"[".repeat(3999)}1${"]".repeat(3999)}`)).toBe(true)
  expect(nested(`${"[".repeat(3998)}1${"]".repeat(3998)}`)).toBe(false)
  const long = "x".repeat(300_000)
  expect(accepts({ const: long })('"x"')).toBe(false)
  expect(accepts({ enum: Array.from({ length: 15_000 }, (_, i) => i) })("14999")).toBe(true)
  const groups = accepts({ type: "string", pattern: `^${"(".repeat(600)}a${")?".repeat(600)}$` })
  expect([groups('""'), groups('"a"'), groups('"aa"')]).toEqual([true, true, false])
})

describe("a schema that cannot be held to", () => {
  const deep = (n: number): object => (n === 0 ? {} : { items: deep(n - 1) })
  const cyclic: Record<string, unknown> = {}
  cyclic.items = cyclic
  test.each<[schema: unknown, message: string]>([
    [{ uniqueItems: true }, 'schema #: keyword is "uniqueItems", expected one of type, properties'],
    [{ properties: { a: { multipleOf: 2 } } }, 'schema #/properties/a: keyword is "multipleOf"'],
    [{ items: { not: {} } }, 'schema #/items: keyword is "not"'],
    [{ anyOf: [{}, { patternProperties: {} }] }, 'schema #/anyOf/1: keyword is "patternProperties"'],
    [{ properties: { "a/b": { if: {} } } }, 'schema #/properties/a~1b: keyword is "if"'],
    [{ $ref: "#/$defs/a", $defs: { a: { nullable: true } } }, 'schema #/$defs/a: keyword is "nullable"'],
    [{ toString: 1 }, 'keyword is "toString"'],
    [{ items: { $id: "x" } }, 'schema #/items: keyword is "$id"'],
    [{ type: "text" }, 'schema #: type is "text", expected one or several of string, number'],
    [{ type: [] }, "schema #: type is an array"],
    [{ type: "string", maxLength: -1 }, "schema #: maxLength is -1, expected a whole number from 0"],
    [{ minimum: "1" }, 'schema #: minimum is "1", expected a number'],
    [{ exclusiveMinimum: true, minimum: 1 }, "schema #: exclusiveMinimum is true, expected a number"],
    [{ items: [{}] }, "schema #: items is an array, expected a schema"],
    [{ enum: [] }, "schema #: enum is an array, expected a list of values"],
    [{ allOf: [{}, {}] }, "schema #: allOf is an array, expected a list of one schema"],
    [{ anyOf: [{}], type: "string" }, 'schema #: keyword beside anyOf is "type", expected none'],
    [{ const: 1, minimum: 0 }, 'schema #: keyword beside const is "minimum"'],
    [{ $ref: "other.json" }, 'schema #: $ref is "other.json", expected # or a pointer within the schema'],
    [{ $ref: "#/$defs/a" }, '$ref is "#/$defs/a"'],
    [{ $ref: "#/%" }, '$ref is "#/%"'],
    [{ $ref: "#/__proto__" }, '$ref is "#/__proto__"'],
    [{ type: "string", format: "hostname" }, 'schema #: format is "hostname", expected one of date, time'],
    [{ type: "string", format: "toString" }, 'schema #: format is "toString"'],
    [{ type: "string", pattern: "a", maxLength: 3 }, 'string\'s keywords is "maxLength and pattern"'],
    [{ type: "string", pattern: "(" }, 'schema #: pattern is "(", expected a regular expression'],
    [{ required: ["b"], properties: {}, additionalProperties: false }, 'schema #: required is "b"'],
    [{ type: "number", minimum: 0.1234567890123456 }, "schema #: bound is 0.1234567890123456, expected"],
    [{ $ref: "#" }, "schema: no value fits it, expected one at least"],
    [{ type: "integer", minimum: 3, maximum: 2 }, "schema: no value fits it"],
    [{ type: "integer", minimum: 1e15 }, "schema: no value fits it"],
    [{ minItems: 3, maxItems: 2 }, "schema: no value fits it"],
    [{ prefixItems: [{}], items: false, minItems: 2 }, "schema: no value fits it"],
    [{ type: "number", exclusiveMinimum: 1, maximum: 1 }, "schema: no value fits it"],
    [{ properties: { ["n".repeat(501)]: {} } }, "name's length is 501, expected at most 500"],
    [deep(101), "schema #: depth is 101, expected at most 100"],
    [cyclic, "expected at most 100"],
    [{ enum: new Array(20_001).fill(1) }, "schema: more than 20000 values"],
    [{ enum: new Array(2_000_000).fill(null) }, "schema: more than 20000 values"],
    [{ const: Number.NaN }, "schema #/const: value is NaN, expected JSON"],
    [{ default: () => 1 }, "expected JSON"],
    [{ const: 10n }, "schema #/const: value is 10, expected JSON"],
    [false, "schema: is false, expected an object, or true for any JSON object"],
    [[], "schema: is an array"],
    [null, "schema: is null"],
    ["{}", 'schema: is "{}"'],
  ])("case %# is refused by name", (schema, message) => {
    let thrown: unknown
    try {
      accepts(schema as Schema)
    } catch (error) {
      thrown = error
    }
    expect(thrown).toSatisfy((error) => error instanceof RangeError || error instanceof TypeError)
    expect((thrown as Error).message).toContain(message)
    expect((thrown as Error).message).toMatch(/^schema.*, expected /s)
  })
})
