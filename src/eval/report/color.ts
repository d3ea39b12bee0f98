import { scaleLinear } from "d3-scale"

/**
 * Viridis at ten even steps: even to the eye, rising in lightness, and told apart by people who do not see all colours
 * (Smith and van der Walt, matplotlib 2.0, 2015; CC0).
 */
const VIRIDIS = [
  "#440154",
  "#482878",
  "#3e4989",
  "#31688e",
  "#26828e",
  "#1f9e89",
  "#35b779",
  "#6ece58",
  "#b5de2b",
  "#fde725",
]

/** ColorBrewer's RdBu, the ends and the middle lightness even; safe for the colour-blind (Harrower and Brewer, 2003). */
const RED_BLUE = ["#b2182b", "#d6604d", "#f4a582", "#fddbc7", "#f7f7f7", "#d1e5f0", "#92c5de", "#4393c3", "#2166ac"]

/** Colours of runs: told apart by the colour-blind (Wong, 2011, doi:10.1038/nmeth.1618), the yellow ones last. */
export const SERIES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"]

/** The colour of a value: `worst` is dark, `best` is bright. */
export function scoreColors(worst: number, best: number): (value: number) => string {
  return ramp(VIRIDIS, worst, best)
}

/** The colour of a difference, white at 0: blue where it is good news, red where it is bad. */
export function differenceColors(most: number, better: "higher" | "lower"): (value: number) => string {
  return better === "higher" ? ramp(RED_BLUE, -most, most) : ramp(RED_BLUE, most, -most)
}

function ramp(colors: readonly string[], from: number, to: number): (value: number) => string {
  const stops = colors.map((_, i) => from + ((to - from) * i) / (colors.length - 1))
  return scaleLinear<string>(stops, colors).clamp(true)
}

/** Whether dark or light text reads better on a colour such as `rgb(68, 1, 84)` (WCAG 2.2, relative luminance). */
export function inkOn(color: string): "dark" | "light" {
  const [r, g, b] = channels(color).map((value) => {
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
  })
  const luminance = 0.2126 * r! + 0.7152 * g! + 0.0722 * b!
  return (luminance + 0.05) ** 2 > 1.05 * 0.05 ? "dark" : "light"
}

function channels(color: string): number[] {
  const digits = color.startsWith("#")
    ? color.match(/[\da-f]{2}/gi)!.map((hex) => Number.parseInt(hex, 16))
    : color.match(/\d+/g)!.map(Number)
  return digits.map((value) => value / 255)
}
