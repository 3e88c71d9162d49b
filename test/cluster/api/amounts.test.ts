/** Sizes and durations: exact, both suffix families, and nothing that is almost a number. */
import t from 'tap'
import {
  exactSize, formatAge, formatDuration, formatSize, parseDurationMs, parseSize,
} from '../../../cluster/api/amounts.ts'

t.test('sizes', async (t) => {
  const table: Array<[text: string, bytes: number | undefined]> = [
    ['0', 0], ['1', 1], ['4096', 4096], ['10Gi', 10 * 2 ** 30], ['10G', 10e9], ['1Ki', 1024], ['1k', 1000],
    ['512Mi', 2 ** 29], ['64Ti', 2 ** 46], ['1.5Gi', 1.5 * 2 ** 30], ['0.5Ki', 512], ['10GiB', 10 * 2 ** 30],
    ['10GB', 10e9], ['4096B', 4096], ['7Pi', 7 * 2 ** 50], ['9007199254740991', 2 ** 53 - 1],
    ['8Pi', undefined], ['9007199254740992', undefined], ['99999999999999999999999', undefined],
    ['', undefined], [' 1', undefined], ['1 Gi', undefined], ['-1', undefined], ['+1', undefined], ['1e3', undefined],
    ['0x10', undefined], ['1.', undefined], ['.5Gi', undefined], ['0.3', undefined], ['1gi', undefined],
    ['Gi', undefined], ['1KiKi', undefined], ['1K', undefined], ['B', undefined], ['1,5Gi', undefined],
    ['١', undefined],
        ['1toString', undefined], ['1constructor', undefined], ['NaN', undefined], ['Infinity', undefined],
  ]
  for (const [text, bytes] of table) t.equal(parseSize(text), bytes, JSON.stringify(text))
})

t.test('durations', async (t) => {
  const table: Array<[text: string, ms: number | undefined]> = [
    ['0', 0], ['250ms', 250], ['30s', 30_000], ['10m', 600_000], ['2h', 7_200_000], ['1.5s', 1500],
    ['30', undefined], ['', undefined], ['-1s', undefined], ['1d', undefined], ['1.2345s', undefined], ['s', undefined],
  ]
  for (const [text, ms] of table) t.equal(parseDurationMs(text), ms, JSON.stringify(text))
})

t.test('shown ages', async (t) => {
  const ages = [-5, 0, 119_999, 120_000, 7_199_999, 7_200_000, 172_799_999, 172_800_000, 1e10].map(formatAge)
  t.same(ages, ['0s', '0s', '119s', '2m', '119m', '2h', '47h', '2d', '115d'])
})

t.test('shown sizes', async (t) => {
  t.same([0, 1, 1023, 1024, 1536, 10 * 2 ** 30, 2 ** 46, 123_456_789].map(formatSize),
    ['0 B', '1 B', '1023 B', '1 KiB', '1.50 KiB', '10 GiB', '64 TiB', '118 MiB'])
  for (const bytes of [0, 1, 1023, 1024, 1_000_000, 3 * 2 ** 20, 10 * 2 ** 30, 2 ** 46]) {
    t.equal(parseSize(exactSize(bytes)), bytes, exactSize(bytes))
  }
  for (const ms of [1, 999, 1000, 90_000, 3_600_000]) t.equal(parseDurationMs(formatDuration(ms)), ms)
})
