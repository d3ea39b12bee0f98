import { ApiError } from "./errors.ts"
import { type Body, isObject, show } from "./fields.ts"

/**
 * A request's JSON object, of a body that may not be larger than `most` bytes.
 *
 * @throws {ApiError} 413 for a larger one, 400 for one that is no JSON object
 */
export async function readBody(request: Request, most: number): Promise<Body> {
  const text = await readText(request, most)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new ApiError(400, `body: text is malformed, expected JSON (${(error as Error).message})`, { cause: error })
  }
  if (isObject(json)) return json
  throw new ApiError(400, `body: value is ${show(json)}, expected an object`)
}

async function readText(request: Request, most: number): Promise<string> {
  const announced = Number(request.headers.get("content-length") ?? 0)
  if (announced > most) throw tooLarge(announced, most)
  const decoder = new TextDecoder("utf-8", { fatal: true })
  let text = ""
  let size = 0
  try {
    for await (const chunk of request.body ?? []) {
      size += chunk.byteLength
      if (size > most) throw tooLarge(size, most)
      text += decoder.decode(chunk, { stream: true })
    }
    return text + decoder.decode()
  } catch (error) {
    if (error instanceof ApiError) throw error
    throw new ApiError(400, "body: cannot be read, expected the whole of it in UTF-8", { cause: error })
  }
}

function tooLarge(size: number, most: number): ApiError {
  return new ApiError(413, `body: has ${size} bytes, expected at most ${most}`, { code: "body_too_large" })
}
