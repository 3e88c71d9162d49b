/**
 * A source text with everything blanked out that is not code (comments, or comments and the insides of strings), so
 * that rules by regular expression do not trip over words in prose. Lengths and line numbers stay.
 *
 * A scanner of its own rather than a parser: the rules need words and places only, and it costs a millisecond a file.
 */
const keepLines = (text: string): string => text.replace(/[^\n]/g, ' ')

/** A slash after one of these begins a regular expression, not a division. */
const BEFORE_REGEXP = /(?:^|[(,=:[!&|?{};+\-*%~^<>]|\b(?:return|typeof|case|of|in))\s*$/

export function withoutComments(text: string): string {
  return scan(text, true)
}

export function codeOnly(text: string): string {
  return scan(text, false)
}

function scan(text: string, keepStrings: boolean): string {
  let out = ''
  let at = 0
  /** Depths of braces at which a template's `${` closes and its text goes on. */
  const templates: number[] = []
  let depth = 0
  const take = (pattern: RegExp, keep: boolean): boolean => {
    pattern.lastIndex = at
    const found = pattern.exec(text)?.[0]
    if (found === undefined) return false
    at += found.length
    // The marks around a string stay, so that `('...')` remains a call with one argument.
    const closing = found.length > 1 ? found.at(-1) ?? '' : ''
    out += keep ? found : (found[0] ?? '') + keepLines(found.slice(1, -1)) + closing
    return true
  }
  const takeTemplate = (): void => {
    const end = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*(?:`|\$\{|$)/y
    end.lastIndex = at
    const found = end.exec(text)?.[0] ?? ''
    at += found.length
    const mark = found.endsWith('${') ? '${' : found.endsWith('`') ? '`' : ''
    out += keepStrings ? found : keepLines(found.slice(0, found.length - mark.length)) + mark
    if (mark === '${') templates.push(depth++)
  }
  while (at < text.length) {
    const character = text[at] ?? ''
    const two = text.slice(at, at + 2)
    if (two === '//' || two === '/*') {
      const end = two === '//' ? text.indexOf('\n', at) : text.indexOf('*/', at) + 2
      const stop = end < at + 2 ? text.length : end
      out += keepLines(text.slice(at, stop))
      at = stop
    } else if (character === "'" && take(/'(?:[^'\\\n]|\\[\s\S])*'?/y, keepStrings)) {
      continue
    } else if (character === '"' && take(/"(?:[^"\\\n]|\\[\s\S])*"?/y, keepStrings)) {
      continue
    } else if (character === '/' && BEFORE_REGEXP.test(out.slice(-40)) &&
      take(/\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\//y, keepStrings)) {
      continue
    } else {
      out += character
      at++
      if (character === '`') takeTemplate()
      else if (character === '{') depth++
      else if (character === '}') {
        depth--
        if (templates.at(-1) === depth) {
          templates.pop()
          takeTemplate()
        }
      }
    }
  }
  return out
}
