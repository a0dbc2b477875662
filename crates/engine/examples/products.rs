//! Speed of the matrix products of a training step, printed as GFLOP/s of process time on one thread.
use engine::cpu::gemm::{Mat, Rhs, Term, Write, product};
use engine::{Cx, Weight};
use std::time::Instant;

fn main() {
    let threads = std::env::args().nth(1).and_then(|a| a.parse().ok()).unwrap_or(1);
    let cx = Cx::new(threads).expect("threads");
    for (m, outputs, inputs) in
        [(1024, 576, 576), (1024, 192, 576), (1024, 1536, 576), (1024, 576, 1536), (225, 49152, 576), (32, 1536, 576)]
    {
        let w: Vec<f32> = (0..outputs * inputs).map(|i| (i % 97) as f32 * 0.01 - 0.5).collect();
        let w = Weight::pack(&cx, &w, outputs, inputs);
        let x = vec![0.5f32; m * inputs];
        let dy = vec![0.25f32; m * outputs];
        let (mut y, mut dx) = (vec![0f32; m * outputs], vec![0f32; m * inputs]);
        let flops = 2.0 * m as f64 * outputs as f64 * inputs as f64;
        let mut best = [f64::INFINITY; 4];
        let mut u = vec![0f32; m * 16];
        let mut dw = vec![0f32; 16 * inputs];
        for _ in 0..(4e9 / flops) as usize + 3 {
            let t = Instant::now();
            product(&cx, &mut y, outputs, Write::Set, &[Term { a: Mat::new(&x, m, inputs), b: Rhs::Weight(&w) }]);
            best[0] = best[0].min(t.elapsed().as_secs_f64());
            let t = Instant::now();
            product(&cx, &mut dx, inputs, Write::Set, &[Term { a: Mat::new(&dy, m, outputs), b: Rhs::WeightT(&w) }]);
            best[1] = best[1].min(t.elapsed().as_secs_f64());
            let v = &dy[..m * 16];
            let t = Instant::now();
            product(&cx, &mut dw, inputs, Write::Add, &[Term { a: Mat::new(v, m, 16).t(), b: Rhs::Mat(Mat::new(&x, m, inputs).t()) }]);
            best[2] = best[2].min(t.elapsed().as_secs_f64());
            let t = Instant::now();
            product(
                &cx,
                &mut u,
                16,
                Write::Set,
                &[Term { a: Mat::new(&x, m, inputs), b: Rhs::Mat(Mat::new(&x[..16 * inputs], 16, inputs)) }],
            );
            best[3] = best[3].min(t.elapsed().as_secs_f64());
        }
        let g = |t: f64| flops / t / 1e9;
        println!(
            "{m:5} x {outputs:5} x {inputs:5}: forward {:6.1}  input gradient {:6.1}  dA (16) {:6.1}  u (16) {:6.1} GFLOP/s",
            g(best[0]),
            g(best[1]),
            2.0 * m as f64 * 16.0 * inputs as f64 / best[2] / 1e9,
            2.0 * m as f64 * 16.0 * inputs as f64 / best[3] / 1e9
        );
    }
}
