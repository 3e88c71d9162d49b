/** A page in Prometheus' text format, read again by a few lines that share none with what wrote it. */
export class Scrape {
  /** By name: the type, and the labels of its samples without a bucket's bound; none when it has no samples. */
  readonly metrics = new Map<string, { type: string; labels: string[] }>()
  readonly #samples: Array<{ name: string; labels: Record<string, string>; value: number }> = []

  constructor(page: string) {
    for (const line of page.split('\n')) {
      const type = /^# TYPE (\w+) (\w+)$/.exec(line)
      if (type !== null) this.metrics.set(type[1]!, { type: type[2]!, labels: [] })
      else if (line !== '' && !line.startsWith('#')) this.#sample(line)
    }
  }

  #sample(line: string): void {
    const parts = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (parts === null) throw new Error(`no sample: ${line}`)
    const [, name = '', labelText = '', value = ''] = parts
    const labels: Record<string, string> = {}
    for (const [, label, text] of labelText.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[label!] = text!
    if (this.#samples.some((one) => one.name === name && isSame(one.labels, labels))) throw new Error(`twice: ${line}`)
    this.#samples.push({ name, labels, value: Number(value) })
    const metric = this.metrics.get(name) ?? this.metrics.get(name.replace(/_(bucket|sum|count)$/, ''))
    if (metric === undefined) throw new Error(`a sample of no metric: ${line}`)
    metric.labels = Object.keys(labels).filter((label) => label !== 'le').sort()
  }

  value(name: string, labels: Record<string, string>): number | undefined {
    return this.#samples.find((one) => one.name === name && isSame(one.labels, labels))?.value
  }

  /** Over all labels. */
  sum(name: string): number {
    return this.#samples.filter((one) => one.name === name).reduce((sum, { value }) => sum + value, 0)
  }
}

function isSame(a: Record<string, string>, b: Record<string, string>): boolean {
  const names = Object.keys(a)
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name])
}
