const PREFIX = "gemlet."

/** A small setting that is kept on this device, if it is there and of the expected form. */
export function readSetting<T>(name: string, isValid: (value: unknown) => value is T): T | undefined {
  try {
    const value: unknown = JSON.parse(localStorage.getItem(PREFIX + name) ?? "null")
    return isValid(value) ? value : undefined
  } catch {
    return undefined // storage that is turned off, or what something else wrote there
  }
}

/** Keeps a setting; undefined takes it away. */
export function writeSetting(name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(PREFIX + name)
    else localStorage.setItem(PREFIX + name, JSON.stringify(value))
  } catch {
    // Storage that is full or turned off: the setting holds until the page is closed.
  }
}
