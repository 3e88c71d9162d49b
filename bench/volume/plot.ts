/**
 * A plot of measured figures as SVG: a panel for each case, a bar for each server, a line from the least to the most of
 * its rounds. Colours and text are legible on light and dark pages.
 */
export interface Bar {
  label: string
  median: number
  least: number
  most: number
  /** In the colour that stands out. */
  isOurs: boolean
}

export interface Panel {
  title: string
  unit: string
  bars: readonly Bar[]
}

const COLUMNS = 3
const PANEL_WIDTH = 330
const ROW_HEIGHT = 17
const HEAD_HEIGHT = 30
const GAP = 18
const LABEL_WIDTH = 92
const VALUE_WIDTH = 62
const BAR_WIDTH = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
const COLOURS = { ours: '#2f6fdf', theirs: '#9aa3ad', text: '#57606a', spread: '#24292f' }

const heightOf = ({ bars }: Panel): number => HEAD_HEIGHT + bars.length * ROW_HEIGHT + GAP

/** @param note  one line below the title */
export function plot(title: string, note: string, panels: readonly Panel[]): string {
  const parts: string[] = []
  // Each panel goes into the column that is shortest so far.
  const bottoms = Array.from({ length: COLUMNS }, () => 62)
  for (const panel of panels) {
    const column = bottoms.indexOf(Math.min(...bottoms))
    const x = GAP + column * (PANEL_WIDTH + GAP)
    parts.push(`<g transform="translate(${x} ${bottoms[column]})">${panelOf(panel)}</g>`)
    bottoms[column]! += heightOf(panel)
  }
  const width = GAP + COLUMNS * (PANEL_WIDTH + GAP)
  const height = Math.max(...bottoms) + GAP
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" ` +
      'font-family="system-ui, sans-serif" font-size="11">',
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    text({ x: GAP, y: 26, size: 16, isBold: true }, title),
    text({ x: GAP, y: 44 }, note),
    ...parts,
    '</svg>',
    '',
  ].join('\n')
}

function panelOf({ title, unit, bars }: Panel): string {
  const most = Math.max(...bars.map((bar) => bar.most), Number.MIN_VALUE)
  const scaled = (value: number): number => Number(((value / most) * BAR_WIDTH).toFixed(1))
  const rows = bars.map(({ label, median, least, most: highest, isOurs }, i) => {
    const y = HEAD_HEIGHT + i * ROW_HEIGHT
    const middle = y + ROW_HEIGHT / 2 - 1
    const [from, to] = [LABEL_WIDTH + scaled(least), LABEL_WIDTH + scaled(highest)]
    return [
      text({ x: LABEL_WIDTH - 6, y: y + 11, anchor: 'end', isBold: isOurs }, label),
      `<rect x="${LABEL_WIDTH}" y="${y}" width="${scaled(median)}" height="${ROW_HEIGHT - 4}" ` +
        `fill="${isOurs ? COLOURS.ours : COLOURS.theirs}"/>`,
      `<path d="M${from} ${middle}H${to}" stroke="${COLOURS.spread}"/>`,
      text({ x: to + 5, y: y + 11 }, Math.round(median).toLocaleString('en-US')),
    ].join('')
  })
  return text({ x: 0, y: 18, size: 13, isBold: true }, `${title}, ${unit}`) + rows.join('')
}

interface TextOptions {
  x: number
  y: number
  size?: number
  isBold?: boolean
  anchor?: 'end'
}

function text({ x, y, size, isBold, anchor }: TextOptions, words: string): string {
  const attributes = [
    `x="${x}" y="${y}" fill="${COLOURS.text}"`, size === undefined ? '' : `font-size="${size}"`,
    isBold === true ? 'font-weight="600"' : '', anchor === undefined ? '' : `text-anchor="${anchor}"`,
  ]
  return `<text ${attributes.filter((attribute) => attribute !== '').join(' ')}>${escaped(words)}</text>`
}

const escaped = (words: string): string =>
  words.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
