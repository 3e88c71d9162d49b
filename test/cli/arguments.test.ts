/** Command lines: forms that work, and every slip refused with what was probably meant. */
import t from 'tap'
import { parseArguments } from '../../cli/arguments.ts'
import type { Arguments } from '../../cli/arguments.ts'
import { HoldfastError } from '../../engine/errors.ts'

const TAKES = {
  options: {
    size: { value: 'SIZE', summary: '' },
    tag: { value: 'TAG', many: true, summary: '' },
    force: { summary: '' },
    output: { value: 'FORMAT', short: 'o', summary: '' },
  },
  positionals: [{ name: 'NAME' }],
}

const parse = (words: string[], takes = TAKES): Arguments => parseArguments(words, takes, 'see help')

function problem(words: string[], takes = TAKES): string {
  try {
    parse(words, takes)
  } catch (error) {
    if (error instanceof HoldfastError && error.code === 'usage') return error.message
    throw error
  }
  return 'taken'
}

t.test('forms that work', async (t) => {
  for (const words of [['x', '--size', '1'], ['--size=1', 'x'], ['--size', '1', '--', 'x']]) {
    const given = parse(words)
    t.equal(given.text('size'), '1')
    t.same(given.positionals, ['x'])
    t.notOk(given.flag('force'))
  }
  t.equal(parse(['x', '-o', 'json']).text('output'), 'json')
  t.equal(parse(['x', '-ojson']).text('output'), 'json')
  t.same(parse(['x', '--tag', 'a', '--tag=b']).texts('tag'), ['a', 'b'])
  t.same(parse(['--', '--size']).positionals, ['--size'])
  t.equal(parse(['x', '--size', '-5']).text('size'), '-5', 'a negative size is a value, and is refused as one')
  t.equal(parse(['x', '--size=']).text('size'), '')
})

t.test('slips', async (t) => {
  const table: Array<[words: string[], message: RegExp]> = [
    [[], /NAME is missing; see help/],
    [['x', 'y'], /"y" is one word too many/],
    [['x', '--sise', '1'], /unknown option --sise; did you mean --size\?/],
    [['x', '--forse'], /did you mean --force\?/],
    [['x', '--banana'], /unknown option --banana; see help/],
    [['x', '-z'], /unknown option -z; see help/],
    [['x', '--size'], /--size needs a value; give --size SIZE/],
    [['x', '--force=yes'], /--force takes no value/],
    [['x', '--size', '1', '--size', '2'], /--size is given twice/],
    [['x', '--constructor'], /unknown option --constructor/],
    [['x', '--__proto__=1'], /unknown option --__proto__/],
    [['x', '--no-force'], /unknown option --no-force/],
  ]
  for (const [words, message] of table) t.match(problem(words), message, words.join(' '))
})

t.test('optional and repeated words', async (t) => {
  const many = { options: {}, positionals: [{ name: 'A' }, { name: 'B', optional: true, many: true }] }
  t.same(parseArguments(['1', '2', '3'], many, '').positionals, ['1', '2', '3'])
  t.same(parseArguments(['1'], many, '').positionals, ['1'])
})
