//! Speed of attention, printed as GFLOP/s over the pairs that are seen: `attention [threads]`.
use engine::ops::attention::{Dims, backward, forward};
use engine::{Cx, Layout};
use std::time::Instant;

fn main() {
    let threads = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    let cx = Cx::new(threads).expect("threads");
    for (name, prefix, count, len, heads, kv_heads, head_dim) in [
        ("4 x 256", 0, 4, 256, 9, 3, 64),
        ("1 x 2048", 0, 1, 2048, 9, 3, 64),
        ("700 + 40 x 30", 700, 40, 30, 9, 3, 64),
        ("1 x 1024, 32 / 8 heads of 128", 0, 1, 1024, 32, 8, 128),
        ("2 x 256, 32 heads of 96", 0, 2, 256, 32, 32, 96),
    ] {
        let mut layout = Layout::new();
        let parent = (prefix > 0).then(|| layout.push(prefix, None));
        (0..count).for_each(|_| {
            layout.push(len, parent);
        });
        let n = layout.tokens();
        let numbers = |width: usize, by: usize| -> Vec<f32> { (0..n * width).map(|i| (i * by % 1009) as f32 * 0.002 - 1.0).collect() };
        let (wq, wk) = (heads * head_dim, kv_heads * head_dim);
        let (q, k, v, d_o) = (numbers(wq, 7), numbers(wk, 11), numbers(wk, 13), numbers(wq, 17));
        let (mut o, mut l, mut dq, mut dk, mut dv) =
            (vec![0f32; n * wq], vec![0f32; n * heads], vec![0f32; n * wq], vec![0f32; n * wk], vec![0f32; n * wk]);
        let d = Dims { heads, kv_heads, head_dim, window: None, scale: 1.0 / (head_dim as f32).sqrt() };
        let pairs = heads * (prefix * (prefix + 1) / 2 + count * (len * prefix + len * (len + 1) / 2));
        let mut best = [f64::INFINITY; 2];
        for _ in 0..10 {
            let t = Instant::now();
            forward(&cx, &mut o, &mut l, &q, &k, &v, &layout, d);
            best[0] = best[0].min(t.elapsed().as_secs_f64());
            let t = Instant::now();
            backward(&cx, (&mut dq, &mut dk, &mut dv), &d_o, (&o, &l), (&q, &k, &v), &layout, d);
            best[1] = best[1].min(t.elapsed().as_secs_f64());
        }
        let flops = (pairs * head_dim) as f64 / 1e9;
        println!("{name:32} forward {:6.1}  backward {:6.1} GFLOP/s", 4.0 * flops / best[0], 10.0 * flops / best[1]);
    }
}
