/**
 * Waits for a software adapter without taking a processor from it: Dawn's binding asks again and again whether work is done
 * for as long as a promise is pending, so the thread sleeps a millisecond per turn of the event loop.
 */
export async function patiently<T>(promise: Promise<T>): Promise<T> {
  const cell = new Int32Array(new SharedArrayBuffer(4))
  let pending = true
  const nap = () => {
    if (!pending) return
    Atomics.wait(cell, 0, 0, 1)
    setImmediate(nap)
  }
  setImmediate(nap)
  try {
    return await promise
  } finally {
    pending = false
  }
}
