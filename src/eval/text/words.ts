const list = (text: string): readonly string[] => text.trim().split(/\s+/)

/** With NOUNS they make keys that no book has: `amber-lantern`. */
export const ADJECTIVES = list(`
  amber ancient bitter brave bright broken calm careful cheerful clever cold copper crimson curious damp dark deep distant dusty eager
  early empty fading famous fancy fast fierce final flat fond fresh frozen gentle giant glad golden grand green happy heavy hidden
  hollow honest huge humble icy idle ivory jolly keen kind large late lazy light little lively lonely long loud lucky merry mighty
  modest narrow neat noble odd old open orange pale patient plain polite proud purple quick quiet rapid rare red rich rough round
  royal rusty sacred scarlet secret sharp shiny short shy silent silver simple sleepy slow small smooth soft solid sour spare spotted
  steady steep stiff strange strong sudden sunny sweet swift tall tame tender thick thin tidy tiny tired upper vast violet warm weary
  wet white wide wild wise wooden yellow young
`)

export const NOUNS = list(`
  acorn anchor apple arrow badge bakery balloon banner barn barrel basket beacon beard bell bench berry blanket boat bottle bowl branch
  bread bridge broom brush bucket button cabin cake camel candle canoe carpet carriage castle cellar chain chair cherry chimney circle
  clock cloud coat coin compass cottage cradle crown cup curtain desert diamond door dragon drum eagle engine falcon farmer feather
  fence fiddle field flag flame flute forest fork fountain garden gate glove goat guitar hammer harbor harp hat hedge helmet hill
  honey horn horse island jacket jar jewel kettle key kitchen kite ladder lake lamp lantern leaf lemon letter lion lock market meadow
  melon mill mirror moon mountain needle nest oak ocean onion orchard oven owl paddle painter palace parcel path pearl pebble pepper
  piano picture pigeon pillow pine planet plate plum pocket pond potato puzzle quilt rabbit raven ribbon ring river robe rocket roof
  rope rose saddle sail salt scarf school shell shepherd ship shoe shovel spoon spring stable stone stove street sword table tailor
  teapot temple thread throne tiger tower train treasure tree trumpet tulip tunnel turtle umbrella valley vase village violin wagon
  wall walnut watch well whale wheel whistle willow window wing winter wolf
`)

/** Cities of the "magic number" needles. */
export const CITIES = list(`
  Accra Amsterdam Ankara Athens Baghdad Bangkok Barcelona Beijing Berlin Bogota Boston Brussels Bucharest Budapest Cairo Caracas
  Chicago Copenhagen Dakar Damascus Delhi Denver Dhaka Dublin Geneva Glasgow Hamburg Hanoi Havana Helsinki Istanbul Jakarta Jerusalem
  Kabul Karachi Kiev Kingston Lagos Lima Lisbon London Madrid Manila Melbourne Miami Milan Montreal Moscow Mumbai Munich Nairobi Naples
  Oslo Ottawa Paris Prague Quito Rome Santiago Seoul Shanghai Singapore Sofia Stockholm Sydney Tallinn Tehran Tokyo Toronto Tripoli
  Tunis Venice Vienna Warsaw Zagreb Zurich
`)

export const NAMES = list(`
  Ada Agnes Albert Alice Anna Arthur Ben Bruno Carl Clara Daniel David Edith Elena Emma Felix Frank George Grace Hannah Harold Helen
  Henry Hugo Ida Ivan Jack Jane Julia Karl Laura Leo Lucy Marta Martin Mary Max Mia Nina Nora Olga Oscar Otto Paul Peter Rosa Ruth Sam
  Sarah Simon Sofia Theo Thomas Tom Vera Victor Walter Wendy William Zoe
`)
