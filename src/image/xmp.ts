import { asciiJson, type Recipe } from './recipe.js'

/** Our XML namespace. Only an identifier: nothing is served at the URL. */
const NAMESPACE = 'https://github.com/easel-serving/easel/ns/1.0/'
const ELEMENT = 'easel:recipe'

/**
 * A recipe as an XMP packet, for formats without text chunks. Holds the prompts in full, unlike the EXIF, so POST
 * /recipe reads the packet.
 *
 * @see https://github.com/adobe/XMP-Toolkit-SDK/blob/main/docs/XMPSpecificationPart1.pdf
 */
export function xmpOf(recipe: Recipe): string {
  return [
    '<x:xmpmeta xmlns:x="adobe:ns:meta/">',
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">',
    `<rdf:Description rdf:about="" xmlns:easel="${NAMESPACE}">`,
    `<${ELEMENT}>${escapeXml(asciiJson(recipe))}</${ELEMENT}>`,
    '</rdf:Description></rdf:RDF></x:xmpmeta>'
  ].join('')
}

/** The recipe's JSON text from a packet that `xmpOf` wrote; undefined for any other packet. */
export function recipeTextOf(xmp: string): string | undefined {
  const start = xmp.indexOf(`<${ELEMENT}>`)
  const end = xmp.indexOf(`</${ELEMENT}>`, start)
  return start === -1 || end === -1 ? undefined : unescapeXml(xmp.slice(start + ELEMENT.length + 2, end))
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}

function unescapeXml(text: string): string {
  return text.replaceAll('&gt;', '>').replaceAll('&lt;', '<').replaceAll('&amp;', '&')
}
