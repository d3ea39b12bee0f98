/** Schemas of every keyword, for walks and models. Each has values that are not long. */
export const SCHEMAS: Readonly<Record<string, Record<string, unknown>>> = {
  integer: { type: "integer", minimum: -12, maximum: 340 },
  "number above 0": { type: "number", exclusiveMinimum: 0, maximum: 2.5 },
  "any number": { type: "number" },
  "short string": { type: "string", minLength: 2, maxLength: 5 },
  pattern: { type: "string", pattern: "^[A-C]{2}-\\d+(?:\\.\\d)?$" },
  "pattern without anchors": { type: "string", pattern: '[a-z][^"b]' },
  date: { type: "string", format: "date" },
  "date-time": { type: "string", format: "date-time" },
  uuid: { type: "string", format: "uuid" },
  email: { type: "string", format: "email" },
  ipv4: { type: "string", format: "ipv4" },
  enum: { enum: ["red", "grün", 3, null, { a: [1, '"'] }] },
  "enum of a type": { type: ["string", "null"], enum: ["x", 3, null] },
  const: { const: [true, "\n", 1.5] },
  types: { type: ["boolean", "integer", "null"] },
  person: {
    type: "object",
    properties: {
      name: { type: "string", maxLength: 8 },
      age: { type: "integer", minimum: 0, maximum: 120 },
      tags: { type: "array", items: { type: "string", maxLength: 3 }, maxItems: 3 },
    },
    required: ["name", "age"],
    additionalProperties: false,
  },
  "all optional": { properties: { a: { type: "null" }, ab: { type: "boolean" }, "": { const: 1 } } },
  "other properties": {
    type: "object",
    properties: { a: { const: 1 }, ab: { const: 2 }, '"é': { const: 3 } },
    additionalProperties: { type: "boolean" },
    required: ["ab"],
  },
  "required without properties": { required: ["a/b"], additionalProperties: { type: "integer" } },
  tuple: { prefixItems: [{ type: "null" }, { type: "boolean" }], items: { type: "integer" }, minItems: 1, maxItems: 4 },
  "tuple without items": { prefixItems: [{ const: 1 }, { const: 2 }], minItems: 2 },
  matrix: { items: { items: { type: "boolean" }, minItems: 2, maxItems: 2 }, minItems: 1, maxItems: 2 },
  tree: {
    $ref: "#/$defs/node",
    $defs: {
      node: {
        type: "object",
        properties: {
          v: { type: "integer", minimum: 0, maximum: 9 },
          kids: { items: { $ref: "#/$defs/node" }, maxItems: 2 },
        },
        required: ["v"],
      },
    },
  },
  union: {
    anyOf: [
      { type: "object", properties: { kind: { const: "a" }, x: { type: "boolean" } }, required: ["kind", "x"] },
      { type: "object", properties: { kind: { const: "ab" }, y: { type: "null" } }, required: ["kind", "y"] },
      { oneOf: [{ type: "null" }, { allOf: [{ const: 7 }] }] },
    ],
  },
}
